//! One method for each call.

use super::{Api, Question, answer};
use crate::cancel::Patience;
use crate::client::FetchedRecords;
use crate::domain::schema::TableSchema;
use crate::domain::settings::SiteStatus;
use crate::domain::strategy::Strategy;
use crate::domain::value::{Rows, Value};
use crate::error::{Error, ErrorKind, Result};
use crate::secret::Token;
use crate::wire::api::{
    Call, Deleted, DescribeTable, Exists, IDS, ListTables, ListTablesAnswer, MOST_RECORDS, Named, PeerStatus, PullData,
    QueryStatus, QueryStatusAnswer, Register, RegisterAnswer, RemoteTable, RotateToken, Secret, TableRecords, UpdateStatus,
    Updated, decode, decode_records, decode_table_schema, encode,
};
use crate::wire::records::{PageLimits, RecordsPage};

/// Most records that are taken of one answer: a sender may be told to send more at once than the 10,000 of PhoenixKit.
const PULLED_RECORDS: u64 = 100_000;

/// Which records are fetched, for [`Api::table_records`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct RecordsQuery {
    offset: u64,
    limit: u64,
    ids: Vec<Value>,
    first: Option<Value>,
    last: Option<Value>,
}

impl Default for RecordsQuery {
    fn default() -> Self {
        RecordsQuery { offset: 0, limit: 10, ids: Vec::new(), first: None, last: None }
    }
}

impl RecordsQuery {
    /// How many records to leave out. Defaults to 0.
    #[must_use]
    pub fn offset(mut self, records: u64) -> Self {
        self.offset = records;
        self
    }

    /// Most records to fetch, from 1 to 100. Defaults to 10.
    #[must_use]
    pub fn limit(mut self, records: u64) -> Self {
        self.limit = records.clamp(1, MOST_RECORDS);
        self
    }

    /// Only records with these values in the first column of the key; at most 1000. They win over the range. Defaults to all.
    #[must_use]
    pub fn ids(mut self, ids: impl IntoIterator<Item = Value>) -> Self {
        self.ids = ids.into_iter().collect();
        self
    }

    /// Only records from this value of the key's first column on. Defaults to all.
    #[must_use]
    pub fn id_start(mut self, id: impl Into<Value>) -> Self {
        self.first = Some(id.into());
        self
    }

    /// Only records up to this value of the key's first column. Defaults to all.
    #[must_use]
    pub fn id_end(mut self, id: impl Into<Value>) -> Self {
        self.last = Some(id.into());
        self
    }
}

/// Asks about this site's URL, and where the other site has no connection with it, with or without a slash at its end: a site of the
/// reference system keeps URLs as they were typed.
fn in_either_spelling<T>(own_url: &str, ask: impl Fn(&str) -> Result<T>) -> Result<T> {
    let is_unknown = |error: &Error| error.kind() == ErrorKind::NotFound && error.http_status() == Some(404);
    match ask(own_url) {
        Err(error) if is_unknown(&error) => {
            let other = own_url.strip_suffix('/').map_or_else(|| format!("{own_url}/"), str::to_owned);
            match ask(&other) {
                Err(again) if is_unknown(&again) => Err(error),
                answer => answer,
            }
        }
        answer => answer,
    }
}

impl Api {
    /// What the other site tells anyone about itself.
    ///
    /// # Errors
    /// Those of [`Api`].
    pub fn status(&self) -> Result<SiteStatus> {
        let body = self.needed(&Question::new(Call::Status, String::new()), &Api::patience())?;
        decode(&body, "its status")
    }

    /// Tells the other site that it may pull from the site at `own_url` with this token: it makes a connection of this name,
    /// active or pending as its incoming mode says. `password` is its incoming password, where it asks for one.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::PasswordRequired`], [`ErrorKind::InvalidPassword`]; [`ErrorKind::AlreadyExists`];
    /// [`ErrorKind::Refused`] where it takes no connections, or not this URL.
    pub fn register_connection(
        &self,
        own_url: &str,
        name: &str,
        token: &Token,
        password: Option<&str>,
    ) -> Result<RegisterAnswer> {
        self.register_connection_in_words(own_url, (name, None), token, password).and_then(|(answer, _)| answer)
    }

    /// [`Api::register_connection`], with the other site's own words: for people, whatever the answer. An error without them
    /// is no answer of the call's.
    pub(crate) fn register_connection_in_words(
        &self,
        own_url: &str,
        (name, default_conflict_strategy): (&str, Option<Strategy>),
        token: &Token,
        password: Option<&str>,
    ) -> Result<(Result<RegisterAnswer>, String)> {
        let message = Register {
            auth_token: Secret::new(token.as_str()),
            connection_name: name.to_owned(),
            default_conflict_strategy,
            password: password.map(Secret::new),
            sender_url: own_url.to_string(),
        };
        let mut question = Question::new(Call::Register, encode(&message));
        question.secrets.extend([message.auth_token].into_iter().chain(message.password));
        let doing = |error: Error| self.doing(&question, error);
        let answer = self.answer(&question, &Api::patience()).map_err(doing)?;
        let answer = self.without_secrets(&question, answer.ok_or_else(|| self.unknown(&question))?);
        let words = self.clean(&question, &answer::words(&answer));
        let body = answer::good(answer).map_err(doing);
        Ok((body.and_then(|body| decode(&body, "its answer to the registration")), words))
    }

    /// Tells the other site that the connection with the site at `own_url` is over.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::NotFound`] if it has no such connection.
    pub fn delete_connection(&self, own_url: &str) -> Result<()> {
        let body = in_either_spelling(own_url, |own_url| {
            self.needed(&Question::new(Call::Delete, self.named(own_url)?), &Api::patience())
        })?;
        decode::<Deleted>(&body, "its answer to the deletion").map(|_| ())
    }

    /// Whether the other site still has the connection with the site at `own_url`.
    ///
    /// # Errors
    /// Those of [`Api`].
    pub fn verify_connection(&self, own_url: &str) -> Result<bool> {
        let answer = in_either_spelling(own_url, |own_url| {
            self.needed(&Question::new(Call::Verify, self.named(own_url)?), &Api::patience())
        });
        match answer {
            Ok(body) => decode::<Exists>(&body, "its answer about the connection").map(|answer| answer.exists),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Tells the other site the connection's new status here.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::NotFound`] if it has no such connection; [`ErrorKind::InvalidTransition`] if the
    /// connection cannot come to that from where it stands there.
    pub fn update_status(&self, own_url: &str, status: PeerStatus) -> Result<()> {
        self.update_status_because(own_url, status, None)
    }

    /// [`Api::update_status`], with the reason that somebody gave.
    pub(crate) fn update_status_because(&self, own_url: &str, status: PeerStatus, reason: Option<&str>) -> Result<()> {
        let body = in_either_spelling(own_url, |own_url| {
            let (sender_url, reason) = (own_url.to_owned(), reason.map(str::to_owned));
            let message = UpdateStatus { auth_token_hash: self.hash()?, sender_url, status, reason };
            self.needed(&Question::new(Call::UpdateStatus, encode(&message)), &Api::patience())
        })?;
        decode::<Updated>(&body, "its answer to the new status").map(|_| ())
    }

    /// The other site's name for the connection, and its status there. Its sender makes a pending one active by this.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::NotFound`] if it has no such connection.
    pub fn get_connection_status(&self, own_url: &str) -> Result<QueryStatusAnswer> {
        let message = QueryStatus { auth_token_hash: self.hash()?, receiver_url: own_url.to_string() };
        let body = self.needed(&Question::new(Call::QueryStatus, encode(&message)), &Api::patience())?;
        decode(&body, "its answer about the connection")
    }

    /// The tables that the connection may pull.
    ///
    /// # Errors
    /// Those of [`Api`].
    pub fn list_tables(&self) -> Result<Vec<RemoteTable>> {
        self.ask_tables(&Api::patience())
    }

    /// The columns of a table. They come without the table's key, which is not told over HTTP.
    ///
    /// # Errors
    /// Those of [`Api`].
    pub fn table_schema(&self, table: &str) -> Result<TableSchema> {
        self.ask_schema(table, &Api::patience())
    }

    /// The records of a table, all at once; [`Api::table_schema`] gives the table. A site of PhoenixKit sends at
    /// most as many as the connection allows in one request (10,000 unless set otherwise), in no order, and does not say
    /// whether there are more: compare with [`RemoteTable::row_count`].
    ///
    /// # Errors
    /// Those of [`Api`].
    pub fn pull_data(&self, table: &TableSchema) -> Result<FetchedRecords> {
        let mut rows = Rows::default();
        let page = self.fetch_all(table, None, &mut rows, &Api::patience())?;
        let (table, failures, has_more) = (table.clone(), page.failures, page.has_more);
        Ok(FetchedRecords { table, rows, failures, offset: 0, has_more })
    }

    /// Some records of a table, for people to look at; [`Api::table_schema`] gives the table. Whether there are more behind
    /// them is not told: `has_more` says whether as many came as were asked for.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::InvalidInput`] for more than 1000 ids.
    pub fn table_records(&self, table: &TableSchema, query: &RecordsQuery) -> Result<FetchedRecords> {
        let mut rows = Rows::default();
        let page = self.fetch_some(table, query, &mut rows, &Api::patience())?;
        let has_more = page.received >= query.limit;
        Ok(FetchedRecords { table: table.clone(), rows, failures: page.failures, offset: query.offset, has_more })
    }

    /// Tells the other site the connection's new token; [`Api::token`] is the old one. False if the other site has no such
    /// call, as those of PhoenixKit: there the connection must be deleted and registered again.
    ///
    /// # Errors
    /// Those of [`Api`]; [`ErrorKind::NotFound`] if it has no such connection.
    pub fn rotate_token(&self, own_url: &str, new: &Token) -> Result<bool> {
        let message = RotateToken {
            auth_token: Secret::new(new.as_str()),
            auth_token_hash: self.hash()?,
            sender_url: own_url.to_owned(),
        };
        let mut question = Question::new(Call::RotateToken, encode(&message));
        question.secrets.push(message.auth_token);
        match self.ask(&question, &Api::patience())? {
            Some(body) => decode::<Updated>(&body, "its answer to the new token").map(|_| true),
            None => Ok(false),
        }
    }

    /// [`Api::list_tables`] for a pull.
    pub(crate) fn ask_tables(&self, patience: &Patience) -> Result<Vec<RemoteTable>> {
        let message = ListTables { auth_token_hash: self.hash()?, password: self.sent_password() };
        let body = self.needed(&self.long(Call::ListTables, encode(&message)), patience)?;
        Ok(decode::<ListTablesAnswer>(&body, "its list of tables")?.within(&self.options.limits)?.tables)
    }

    /// [`Api::table_schema`] for a pull.
    pub(crate) fn ask_schema(&self, table: &str, patience: &Patience) -> Result<TableSchema> {
        let message =
            DescribeTable { auth_token_hash: self.hash()?, password: self.sent_password(), table_name: table.to_owned() };
        let body = self.needed(&self.long(Call::DescribeTable, encode(&message)), patience)?;
        decode_table_schema(&body, table, &self.options.limits)
    }

    /// [`Api::pull_data`] for a pull. The sender keeps the strategy in its history.
    pub(crate) fn fetch_all(
        &self,
        table: &TableSchema,
        conflict_strategy: Option<Strategy>,
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<RecordsPage> {
        let message = PullData {
            auth_token_hash: self.hash()?,
            conflict_strategy,
            mark_cut: true,
            password: self.sent_password(),
            table_name: table.name.clone(),
        };
        self.fetch(Call::PullData, encode(&message), table, PULLED_RECORDS, rows, patience)
    }

    /// [`Api::table_records`] for a pull.
    pub(crate) fn fetch_some(
        &self,
        table: &TableSchema,
        query: &RecordsQuery,
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<RecordsPage> {
        if query.ids.len() > IDS {
            let why = format!("{} ids are more than the {IDS} that one call takes", query.ids.len());
            return Err(Error::new(ErrorKind::InvalidInput, why).with_hint("Ask for fewer at a time."));
        }
        let message = TableRecords {
            auth_token_hash: self.hash()?,
            id_end: query.last.clone(),
            id_start: query.first.clone(),
            ids: query.ids.clone(),
            limit: query.limit,
            offset: query.offset,
            password: self.sent_password(),
            table_name: table.name.clone(),
        };
        self.fetch(Call::TableRecords, encode(&message), table, query.limit, rows, patience)
    }

    /// Asks for records, and adds them to `rows`.
    fn fetch(
        &self,
        call: Call,
        body: String,
        table: &TableSchema,
        most: u64,
        rows: &mut Rows,
        patience: &Patience,
    ) -> Result<RecordsPage> {
        let question = Question { time: self.options.request_timeout, ..self.long(call, body) };
        let body = self.needed(&question, patience)?;
        let text = std::str::from_utf8(&body).map_err(|error| {
            let why = format!("the other site's records of table {:?} are not text: {error}", table.name);
            Error::new(ErrorKind::Protocol, why)
        })?;
        // Even a record of many short columns takes no more than a few times its JSON in memory.
        let bounds = PageLimits { records: most, bytes: question.most.saturating_mul(4) };
        let page = decode_records(text, table, bounds, rows)?;
        Ok(RecordsPage { bytes: body.len() as u64, ..page })
    }

    /// The body of a good answer to a call that every site knows.
    fn needed(&self, question: &Question, patience: &Patience) -> Result<Vec<u8>> {
        self.ask(question, patience)?.ok_or_else(|| self.unknown(question))
    }

    fn unknown(&self, question: &Question) -> Error {
        let why = format!("{} does not know the call {}", self.url.authority(), question.call);
        Error::new(ErrorKind::Protocol, why).with_hint("Check the address, and that a site of this protocol is there.")
    }

    /// A question about tables or records: its answer may be long, and changes nothing.
    fn long(&self, call: Call, body: String) -> Question {
        Question { most: self.options.limits.wire.message_bytes, reads: true, ..Question::new(call, body) }
    }

    fn named(&self, own_url: &str) -> Result<String> {
        Ok(encode(&Named { auth_token_hash: self.hash()?, sender_url: own_url.to_owned() }))
    }

    fn hash(&self) -> Result<Secret> {
        let credential = self.credential.as_ref().ok_or_else(|| {
            Error::new(ErrorKind::InvalidInput, "this call is about a connection, and no token is given")
                .with_hint("Give the connection's token.")
        })?;
        Ok(Secret::new(credential.as_str()))
    }

    fn sent_password(&self) -> Option<Secret> {
        self.password.as_deref().map(|password| Secret::new(password))
    }
}
