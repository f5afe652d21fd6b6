//! The calls about tables and their records.

use http::{Response, StatusCode};

use super::answers::{bad_request, broken_call, denied, good, json, not_allowed, records as long, refused};
use super::body::Body;
use super::records::{RecordsBody, given_up};
use crate::access::{Access, Answer, Caller, Pass, Paused, Pull, Refused};
use crate::domain::access::{Denial, Use};
use crate::domain::value::Rows;
use crate::error::{Error, ErrorKind};
use crate::export::{Exporter, Ids, TableDetails};
use crate::wire::Dialect;
use crate::wire::api::{
    DescribeTable, Fields, ListTables, Listed, ListedTable, PagesHead, PullData, Refusal, Secret, TableRecords,
    encode_table_schema, head, tail,
};
use crate::wire::records::{Cut, encode_records};

pub(super) fn list_tables(access: &Access, fields: &Fields<'_>, caller: &Caller) -> Response<Body> {
    const FAILED: &str = "Failed to list tables";
    let asked = match ListTables::read(fields) {
        Ok(asked) => asked,
        Err(bad) => return bad_request(&bad),
    };
    let listed = (|| {
        let pass = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        pass.call()?;
        Ok(exporter(access, &pass).details()?)
    })();
    let listed: Answer<Vec<TableDetails>> = listed;
    match listed {
        Ok(tables) => good(&Listed::new(tables.into_iter().map(listed_table).collect())),
        Err(why) => not_allowed(&why, FAILED),
    }
}

fn listed_table(table: TableDetails) -> ListedTable {
    let checksum = match table.row_count {
        0 => Some("empty".to_owned()),
        _ => table.digest.map(|digest| digest.to_string()),
    };
    ListedTable {
        checksum,
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
        let pass = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        pass.call()?;
        pass.table(&asked.table_name)?;
        let table = exporter(access, &pass).schema(&asked.table_name).map_err(found)?;
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
        let mut pass = access.by_hash(asked.auth_token_hash.as_str(), text(&asked.password), caller, Use::New)?;
        pass.table(&asked.table_name)?;
        let mut exporter = exporter(access, &pass);
        let table = exporter.schema(&asked.table_name).map_err(found)?.name.clone();
        let pull = pass.begin(&table, asked.conflict_strategy)?;
        RecordsBody::begin(pass, pull, exporter, table, &asked)
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
    // Before it is known who asks and which table it is, all that can be told is whether it may go on with a pull.
    let mut pass = access.by_hash(hash, password, caller, Use::Running)?;
    pass.table(&asked.table_name)?;
    let connection = pass.connection();
    let resumed = match (connection, &ids) {
        (Some(connection), None) => access.paused().resume(access.site(), connection, &asked.table_name, asked.offset),
        _ => None,
    };
    let (table, mut exporter, mut pull) = match resumed {
        Some(mut paused) => {
            let looked = pass.look(Some(&paused.pull));
            match looked.and_then(|looked| pass.go_on(&mut paused.pull, &looked, asked.limit)) {
                Ok(()) => {}
                Err(refused @ Refused::Denied(_)) => return Err(given_up(paused.pull, refused)),
                // A store that is busy ends no pull: the same may be asked again.
                Err(failed) => {
                    access.paused().pause(paused);
                    return Err(failed);
                }
            }
            let Paused { table, exporter: kept, pull, .. } = paused;
            let mut exporter = kept.unwrap_or_else(|| exporter(access, &pass));
            exporter.offer(pass.offer());
            (table, exporter, pull)
        }
        None => {
            let mut fresh = exporter(access, &pass);
            let table = fresh.schema(&asked.table_name).map_err(found)?.name.clone();
            // Nothing is asked for, so that nothing is pulled.
            if asked.limit == 0 {
                pass.new_use()?;
                pass.call()?;
                return Ok(format!("{}{}", head(PagesHead::Records), tail(PagesHead::Records, false)).into_bytes());
            }
            let pull = pass.begin(&table, None)?;
            (table, fresh, pull)
        }
    };
    let mut rows = Rows::default();
    let most = pull.most(asked.limit);
    let page = match &ids {
        Some(ids) => exporter.find(&table, ids, asked.offset, most, &mut rows),
        None if asked.limit == 0 => return keep(access, (connection, table, asked.offset), pull, exporter, Vec::new()),
        None => exporter.records_at_most(&table, asked.offset, asked.limit, most, &mut rows),
    };
    let page = match page {
        Ok(page) => page,
        Err(error) => return Err(given_up(pull, found(error))),
    };
    let mut body = head(PagesHead::Records).as_bytes().to_vec();
    let cut = Cut { page_bytes: access.site().limits().page_bytes, record_bytes: usize::MAX };
    let start = body.len();
    let ready = encode_records(&mut body, &page.table, &rows, 0..rows.len(), Dialect::ReferenceHttp, cut);
    let sent = match pass.take_page(&mut pull, ready as u64) {
        Ok(taken) => usize::try_from(taken).map_or(ready, |taken| taken.min(ready)),
        Err(refused) => return Err(given_up(pull, refused)),
    };
    if sent < ready {
        body.truncate(start);
        encode_records(&mut body, &page.table, &rows, 0..sent, Dialect::ReferenceHttp, cut);
    }
    if sent < rows.len() && ids.is_none() {
        exporter.sent_only(sent as u64);
    }
    body.extend_from_slice(tail(PagesHead::Records, false).as_bytes());
    pull.sent(sent as u64, body.len() as u64);
    let more = page.more || sent < rows.len();
    match (more, &ids) {
        (false, _) | (true, Some(_)) => {
            pull.complete()?;
            Ok(body)
        }
        (true, None) => keep(access, (connection, table, asked.offset.saturating_add(sent as u64)), pull, exporter, body),
    }
}

/// Keeps a pull for the call that goes on at this offset.
fn keep(
    access: &Access,
    (connection, table, offset): (Option<uuid::Uuid>, String, u64),
    pull: Pull,
    exporter: Exporter,
    body: Vec<u8>,
) -> Answer<Vec<u8>> {
    if let Some(connection) = connection {
        let since = access.site().now();
        access.paused().pause(Paused { owner: connection, table, pull, exporter: Some(exporter), offset, since });
    }
    Ok(body)
}

fn ids(asked: &TableRecords) -> Option<Ids> {
    match (&asked.ids[..], &asked.id_start, &asked.id_end) {
        ([], None, None) => None,
        ([], from, to) => Some(Ids::Between(from.clone(), to.clone())),
        (ids, _, _) => Some(Ids::These(ids.to_vec())),
    }
}

/// What reads the tables that this peer may see.
fn exporter(access: &Access, pass: &Pass) -> Exporter {
    let mut exporter = access.site().exporter();
    exporter.offer(pass.offer());
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
