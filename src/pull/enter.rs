//! The first connection of a pull.

use super::PullOptions;
use super::progress::{Phase, Progress};
use super::reconnect::ReconnectPolicy;
use crate::client::{Auth, Client, ConnectOptions};
use crate::error::Result;
use crate::site::Site;

impl Site {
    /// [`Client::connect_to_rowferry`] for a pull: where the other site has no place for one more connection, and says so, it is tried
    /// again within [`PullOptions::retry_time`]. The caller is told of it meanwhile, and may cancel. Options that contradict each other
    /// spend no code.
    pub(crate) fn enter(
        &self,
        url: &str,
        auth: &Auth,
        connect: &ConnectOptions,
        options: &mut PullOptions<'_>,
    ) -> Result<Option<Client>> {
        options.check()?;
        let time = options.retry_time.unwrap_or(self.limits().pull.retry_time).min(options.time());
        let PullOptions { cancel, progress, .. } = options;
        let check = || {
            let doing = "connecting: the other site is busy";
            connect.cancel().check(doing)?;
            cancel.check(doing)
        };
        ReconnectPolicy::new(time).first(
            || Client::connect_to_rowferry(url, auth.clone(), connect.clone()),
            &check,
            |left| {
                if let Some(tell) = progress {
                    tell(&Progress {
                        table: "",
                        table_index: 0,
                        tables: 0,
                        records: 0,
                        announced: 0,
                        bytes: 0,
                        phase: Phase::Connecting,
                        approval: None,
                        wait: Some(left),
                    });
                }
            },
        )
    }
}
