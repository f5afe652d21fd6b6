//! The test server itself.

use crate::postgres::{Server, server};

#[test]
fn a_server_is_started_and_leaves_nothing_behind() {
    let own = Server::start();
    let url = own.database();
    assert_eq!(
        own.run(&url, "CREATE TABLE t (a int, b text); INSERT INTO t VALUES (1, 'x'), (2, NULL); SELECT * FROM t"),
        "1|x\n2|"
    );
    assert!(own.try_run(&url, "SELECT 1; SELEC 2").unwrap_err().contains("syntax error"));
    let folder = own.folder().to_owned();
    drop(own);
    assert!(!folder.exists());
    assert_ne!(server().database(), server().database());
}
