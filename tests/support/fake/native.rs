//! What a sender of rowferry answers in binary messages: a table as one page and the end. `src/wire/native/layout.md` has the layout.

use serde_json::Value as Json;

use super::FakeTable;

/// A request for the rows of a table.
pub struct Fetch {
    request: u32,
    pub table: String,
    pub records: u64,
    pub page_rows: u32,
}

impl Fetch {
    /// `None` if the message asks for no rows.
    pub fn read(message: &[u8]) -> Option<Self> {
        if message[3] != 0x01 {
            return None;
        }
        let number = |at: usize| u32::from_le_bytes(message[at..at + 4].try_into().unwrap());
        let records = u64::from_le_bytes(message[20..28].try_into().unwrap());
        let length = usize::from(u16::from_le_bytes([message[29], message[30]]));
        let table = String::from_utf8(message[31..31 + length].to_vec()).unwrap();
        Some(Fetch { request: number(4), table, records, page_rows: number(12) })
    }

    /// The answer: what is after the records that the receiver has.
    pub fn answer(&self, table: Option<&FakeTable>) -> Vec<Vec<u8>> {
        let Some(table) = table else {
            let mut body = vec![0];
            ["table_not_found", "There is none"].iter().for_each(|text| {
                body.extend_from_slice(&(text.len() as u16).to_le_bytes());
                body.extend_from_slice(text.as_bytes());
            });
            return vec![self.message(0x13, &body)];
        };
        let columns: Vec<&str> =
            table.schema["columns"].as_array().unwrap().iter().map(|c| c["name"].as_str().unwrap()).collect();
        let records = &table.records[usize::try_from(self.records).unwrap().min(table.records.len())..];
        let mut rows = Vec::new();
        for record in records {
            columns.iter().for_each(|name| put(&mut rows, record.get(*name)));
        }
        let mut said = Vec::new();
        if !records.is_empty() {
            let mut page = 1u64.to_le_bytes().to_vec();
            for number in [0, columns.len(), records.len(), rows.len(), rows.len()] {
                page.extend_from_slice(&(number as u32).to_le_bytes());
            }
            page.push(0);
            page.extend_from_slice(&rows);
            page.extend_from_slice(&[1, 1, 0]);
            put(&mut page, Some(&table.records.len().into()));
            said.push(self.message(0x11, &page));
        }
        said.push(self.message(0x12, &[(records.len() as u64).to_le_bytes(), 1u64.to_le_bytes()].concat()));
        said
    }

    fn message(&self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![b'r', b'f', 1, kind];
        out.extend_from_slice(&self.request.to_le_bytes());
        out.extend_from_slice(body);
        let sum = crc32fast::hash(&out);
        out.extend_from_slice(&sum.to_le_bytes());
        out
    }
}

/// A value: none, NULL, an integer or a short text.
fn put(out: &mut Vec<u8>, value: Option<&Json>) {
    match value {
        None => out.push(0x00),
        Some(Json::Null) => out.push(0x01),
        Some(Json::String(text)) => {
            assert!(text.len() < 0x80);
            out.push(0x80 + text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
        Some(number) => {
            let number = number.as_i64().unwrap_or_else(|| panic!("{number} is not one of these"));
            let fits =
                |bytes: &u32| *bytes == 8 || (number << (64 - 8 * bytes.max(&1))) >> (64 - 8 * bytes.max(&1)) == number;
            let length = if number == 0 { 0 } else { (1..=8).find(fits).unwrap() };
            out.push(0x10 + length as u8);
            out.extend_from_slice(&number.to_le_bytes()[..length as usize]);
        }
    }
}
