//! The key's file on the command line: where it is, whose it is, and what a reset that fails leaves.
#![cfg(unix)]

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};

use crate::support::command::Folder;

#[test]
fn a_key_file_that_is_named_is_used_by_every_command() {
    let folder = Folder::new();
    fs::create_dir(folder.path("secrets")).unwrap();
    symlink("secrets/..data", folder.path("key")).unwrap();
    fs::write(folder.path("secrets/..data"), [7; 32]).unwrap();
    fs::set_permissions(folder.path("secrets/..data"), fs::Permissions::from_mode(0o600)).unwrap();
    let code = folder.json("sessions create --db shop.db --key-file key")["code"].as_str().unwrap().to_owned();
    assert!(!folder.path("shop.db.rowferry-key").exists());
    folder.run("sessions create --db shop.db").failed(1, &["shop.db.rowferry-key", "is gone"]);
    let served = folder.serve_db("shop.db", "--key-file key");
    folder.run(&format!("pull {} --code {code} --db backup.db --key-file other", served.url)).ok();
    assert!(folder.path("other").exists() && !folder.path("backup.db.rowferry-key").exists());
    folder.run("sessions reset-key --db shop.db --key-file key").ok();
    assert!(folder.path("key").is_symlink() && fs::read(folder.path("secrets/..data")).unwrap() != [7; 32]);
    folder.run("sessions create --db shop.db --key-file key").ok();
}

#[test]
fn a_database_behind_a_link_has_its_key_beside_itself() {
    let folder = Folder::new();
    fs::create_dir(folder.path("links")).unwrap();
    symlink("../shop.db", folder.path("links/shop.db")).unwrap();
    for path in ["links/shop.db", "shop.db", "./links/../shop.db", "links/shop.db"] {
        folder.run(&format!("sessions create --db {path}")).ok();
    }
    assert!(folder.path("shop.db.rowferry-key").exists() && !folder.path("links/shop.db.rowferry-key").exists());
}

#[test]
fn a_key_that_cannot_be_written_says_what_to_do() {
    let folder = Folder::new();
    let missing = "sessions create --db shop.db --key-file no/such/folder/key";
    folder.run(missing).failed(1, &["cannot create the site's key no/such/folder/key", "--key-file"]);
    folder.run("sessions create --db shop.db").ok();
}
