//! The calls about tables and their records.

use http::{Response, StatusCode};

use super::answers::{bad_request, broken_call, denied, good, json, not_allowed, records as long, refused};
use super::body::Body;
use super::download::{Ask, Checked, Download, Json, Place, Source};
use super::records::RecordsBody;
use crate::access::{Access, Account, Answer, Caller, Grant, Paused, Refused};
use crate::domain::access::{Denial, Use};
use crate::error::{Error, ErrorKind};
use crate::export::{Exporter, Ids, TableDetails};
use crate::secret::Credential;
use crate::wire::Dialect;
use crate::wire::api::{
    DescribeTable, Fields, ListTables, ListTablesAnswer, PagesHead, PullData, Refusal, RemoteTable, Secret, TableRecords,
    encode_table_schema, head, tail,
};
use crate::wire::records::Cut;

pub(super) fn list_tables(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    const FAILED: &str = "Failed to list tables";
    let asked = match ListTables::read(fields) {
        Ok(asked) => asked,
        Err(bad) => return bad_request(&bad),
    };
    let listed = (|| {
        let grant = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        grant.call()?;
        let tables = exporter(access, &grant).details(|table| grant.requires_approval(table))?;
        Ok(tables.into_iter().map(|table| listed_table(table, asked.auth_token_hash.as_str())).collect())
    })();
    let listed: Answer<Vec<RemoteTable>> = listed;
    match listed {
        Ok(tables) => good(&ListTablesAnswer::new(tables)),
        Err(why) => not_allowed(&why, FAILED),
    }
}

fn listed_table(table: TableDetails, for_whom: &str) -> RemoteTable {
    RemoteTable {
        checksum: table.digest.zip(Credential::parse(for_whom)).map(|(digest, for_whom)| digest.listed(&for_whom)),
        depends_on: table.depends_on,
        name: table.name,
        row_count: table.row_count,
        size_bytes: table.size_bytes,
    }
}

pub(super) fn table_schema(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    let asked = match DescribeTable::read(fields) {
        Ok(asked) => asked,
        Err(bad) => return bad_request(&bad),
    };
    let described = (|| {
        let grant = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        grant.call()?;
        grant.table(&asked.table_name)?;
        let table = exporter(access, &grant).schema(&asked.table_name).map_err(found)?;
        Ok(encode_table_schema(&table))
    })();
    let described: Answer<String> = described;
    match described {
        Ok(body) => json(StatusCode::OK, body),
        Err(why) => not_allowed(&why, "Failed to get schema"),
    }
}

pub(super) fn pull_data(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    let asked = match PullData::read(fields) {
        Ok(asked) => asked,
        Err(bad) => return bad_request(&bad),
    };
    let begun = (|| {
        let grant = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        grant.table(&asked.table_name)?;
        let mut source = Source::new(grant);
        let table = source.exporter.schema(&asked.table_name).map_err(found)?;
        let wanted = source.asked(&table)?;
        let account = source.grant.begin(&wanted, asked.conflict_strategy)?;
        RecordsBody::begin(source, account, wanted.table, &asked)
    })();
    let begun: Answer<RecordsBody> = begun;
    match begun {
        Ok(body) => long(body.into_body()),
        Err(why) => not_allowed(&why, "Failed to pull data"),
    }
}

pub(super) fn table_records(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    let asked = match TableRecords::read(fields) {
        Ok(asked) => asked,
        Err(bad) => return bad_request(&bad),
    };
    match some_records(access, &asked, caller) {
        Ok(body) => json(StatusCode::OK, body),
        Err(Refused::Denied(denial)) => denied(&denial),
        // The caller's own mistake: ids of a table that has none.
        Err(Refused::Failed(error)) if error.kind() == ErrorKind::InvalidInput => {
            refused(StatusCode::BAD_REQUEST, &Refusal::new(error.message()).with_code(error.kind()))
        }
        Err(Refused::Failed(error)) => broken_call(&error, &format!("Failed to get records: {}", error.code())),
    }
}

fn some_records(access: &Access, asked: &TableRecords, caller: &Caller) -> Answer<Vec<u8>> {
    let (hash, password) = (asked.auth_token_hash.as_str(), text(&asked.password));
    let ids = ids(asked);
    // Before it is known who asks and which table it is, all that can be told is whether it may continue a pull.
    let grant = access.by_hash(hash, password, caller, Use::Running)?;
    grant.table(&asked.table_name)?;
    let connection = grant.connection();
    let mut source = Source::new(grant);
    if asked.limit == 0 {
        // Nothing is asked for, so that nothing is pulled, and what is pulled stays as it is.
        source.grant.new_use()?;
        source.grant.call()?;
        source.exporter.schema(&asked.table_name).map_err(found)?;
        return Ok(nothing());
    }
    let resumed = match (connection, &ids) {
        (Some(connection), None) => access.paused().resume(access.site(), connection, &asked.table_name, asked.offset),
        _ => None,
    };
    let (table, mut account) = match resumed {
        Some(mut paused) if !paused.account.is_look() => {
            if let Some(kept) = paused.exporter.take() {
                source.exporter = kept;
            }
            match source.check(&mut paused.account, None, asked.limit) {
                Ok(()) => (paused.table, paused.account),
                Err(refused @ Refused::Denied(_)) => return Err(source.give_up(paused.account, refused)),
                // A store that is busy ends no pull: the same may be asked again.
                Err(failed) => {
                    access.paused().pause(Paused { exporter: Some(source.exporter), ..paused });
                    return Err(failed);
                }
            }
        }
        look => begin(access, &mut source, look, asked, ids.is_none())?,
    };
    let keep = |offset, account, exporter| {
        if let Some(owner) = connection {
            let (table, exporter, since) = (table.clone(), Some(exporter), access.site().now());
            access.paused().pause(Paused { owner, table, account, exporter, offset, since });
        }
    };
    let is_whole = ids.is_some();
    let place = match ids {
        Some(ids) => Place::Ids { table: table.clone(), ids, skip: asked.offset },
        None => Place::Offset { table: table.clone(), offset: asked.offset, limit: asked.limit },
    };
    let page_bytes = source.limits().wire.page_bytes;
    let mut body = head(PagesHead::Records).as_bytes().to_vec();
    let cut = Cut { page_bytes, record_bytes: usize::MAX };
    let mut json = Json { out: &mut body, dialect: Dialect::ReferenceHttp, cut, before: "" };
    let ask = Ask { records: asked.limit, bytes: page_bytes, checked: Checked::Page };
    let next = source.next(Download { account, place }, ask, &mut json);
    let (download, sent) = next.map_err(|refused| match refused {
        Refused::Failed(error) => found(error),
        denied => denied,
    })?;
    body.extend_from_slice(tail(PagesHead::Records, false).as_bytes());
    account = download.account;
    if !sent.more || is_whole {
        account.complete()?;
        return Ok(body);
    }
    if account.is_look() {
        // Nobody has to come back for more: it has ended, until it is continued.
        account.completed()?;
    }
    keep(asked.offset.saturating_add(sent.rows), account, source.exporter);
    Ok(body)
}

/// Begins a look at records, or continues the one that was taken before. What is no look is a download: where there was a look before,
/// the download begins in the place that the look had come to.
fn begin(
    access: &Access,
    source: &mut Source,
    look: Option<Paused>,
    asked: &TableRecords,
    by_offset: bool,
) -> Answer<(String, Account)> {
    let (mut before, since) = match look {
        Some(Paused { account, exporter, since, .. }) => {
            if let Some(kept) = exporter {
                source.exporter = kept;
            }
            (Some(account), Some(since))
        }
        None => (None, None),
    };
    let begun = begin_after(source, &mut before, asked, by_offset);
    if let (Err(_), Some(account), Some(since)) = (&begun, before, since) {
        // It may be asked for again: when someone has approved it, say.
        let exporter = std::mem::replace(&mut source.exporter, access.site().exporter());
        let (owner, table) = (account.owner(), account.table().to_owned());
        access.paused().pause(Paused { owner, table, account, exporter: Some(exporter), offset: asked.offset, since });
    }
    begun
}

fn begin_after(
    source: &mut Source,
    look: &mut Option<Account>,
    asked: &TableRecords,
    by_offset: bool,
) -> Answer<(String, Account)> {
    source.exporter.offer(source.grant.offer());
    let table = source.exporter.schema(&asked.table_name).map_err(found)?;
    let wanted = source.asked(&table)?;
    let mut account = match source.grant.begin_look(&wanted, asked.limit, look)? {
        Some(account) => account,
        None => source.grant.begin(&wanted, None)?,
    };
    if account.is_continued() {
        source.check(&mut account, None, asked.limit)?;
    } else if by_offset {
        account.begins_after(asked.offset);
    }
    Ok((wanted.table, account))
}

/// An answer without records.
fn nothing() -> Vec<u8> {
    format!("{}{}", head(PagesHead::Records), tail(PagesHead::Records, false)).into_bytes()
}

fn ids(asked: &TableRecords) -> Option<Ids> {
    match (&asked.ids[..], &asked.id_start, &asked.id_end) {
        ([], None, None) => None,
        ([], from, to) => Some(Ids::Between(from.clone(), to.clone())),
        (ids, _, _) => Some(Ids::These(ids.to_vec())),
    }
}

/// What reads the tables that this peer may see.
fn exporter(access: &Access, grant: &Grant) -> Exporter {
    let mut exporter = access.site().exporter();
    exporter.offer(grant.offer());
    exporter
}

/// A table that does not exist is a refusal.
fn found(error: Error) -> Refused {
    match error.kind() {
        ErrorKind::TableNotFound => Denial::new(ErrorKind::TableNotFound).into(),
        _ => error.into(),
    }
}

fn text(password: &Option<Secret>) -> Option<&str> {
    password.as_ref().map(Secret::as_str)
}
