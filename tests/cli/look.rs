//! A look at a site of PhoenixKit by the command line: it takes the token over HTTP only.

use crate::support::command::Folder;
use crate::support::fake_http::{Asked, FakeSite, Reply, ok, refused};
use serde_json::{Value, json};

/// The channel wants a uuid that the site does not tell.
fn wrong_topic(asked: &Asked) -> Reply {
    let accept = tungstenite::handshake::derive_accept_key(asked.header("sec-websocket-key").unwrap().as_bytes());
    let frame = r#"[null,"1","transfer:self","phx_reply",{"response":{"reason":"code_mismatch"},"status":"error"}]"#;
    let mut bytes = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
    )
    .into_bytes();
    bytes.extend([0x81, u8::try_from(frame.len()).unwrap()]);
    bytes.extend_from_slice(frame.as_bytes());
    Reply::Raw(bytes)
}

fn answer(asked: &Asked) -> Reply {
    if asked.line.contains("/sync/websocket?") {
        return wrong_topic(asked);
    }
    match (asked.call(), asked.table().as_str()) {
        ("list-tables", _) => {
            let users = json!({"checksum": "x", "depends_on": [], "name": "users", "row_count": 3, "size_bytes": 8192});
            ok(json!({"success": true, "tables": [users]}).to_string())
        }
        ("table-schema", "users") => {
            let column = |name: &str, data_type: &str| {
                json!({"character_maximum_length": null, "column_default": null, "column_name": name,
                    "data_type": data_type, "is_nullable": "YES"})
            };
            let columns = [column("id", "bigint"), column("name", "text")];
            ok(json!({"schema": {"columns": columns, "table_name": "users"}, "success": true}).to_string())
        }
        ("table-records", "users") => {
            let number = |field: &str| usize::try_from(asked.json()[field].as_u64().unwrap()).unwrap();
            let records: Vec<Value> =
                (1..=3).skip(number("offset")).take(number("limit")).map(|id| json!({"id": id, "name": "n"})).collect();
            ok(json!({"records": records, "success": true}).to_string())
        }
        _ => refused(404, "Table not found"),
    }
}

#[test]
fn a_site_that_takes_the_token_over_http_only_can_be_looked_at() {
    let (folder, site) = (Folder::new(), FakeSite::new(answer));
    let look = |what: &str| folder.run(&format!("{what} {} --token is3W3OM --json", site.url));
    assert_eq!(look("tables").ok().json(), json!({"tables": [{"name": "users", "row_count": 3}]}));
    assert_eq!(look("schema users").ok().json()["columns"][0]["name"], "id");
    assert_eq!(look("count users").ok().json(), json!({"table": "users", "count": 3}));
    look("count ghost").failed(1, &["no table \"ghost\""]);
    let page = look("records users --limit 2 --offset 1").ok().json();
    assert_eq!((&page["records"][0]["id"], page["records"].as_array().unwrap().len()), (&json!(2), 2));
    look("records ghost").failed(1, &["Table not found"]);
}
