//! Holds JSON lines to `schema/output.schema.json`. Readers ignore fields that the schema does not know; here each must be in it.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde_json::Value;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../schema/output.schema.json")).expect("the schema is JSON"));

/// The commands that print JSON.
pub fn commands() -> Vec<String> {
    SCHEMA["commands"].as_object().unwrap().keys().cloned().collect()
}

/// Checks what a command line printed that ended with this status. One that failed says why in its last line, which no other one has.
#[track_caller]
pub fn check(command_line: &str, status: i32, stdout: &str) {
    let words: Vec<&str> = command_line.split_whitespace().filter(|word| !["-q", "-v", "-vv"].contains(word)).collect();
    let names =
        [words.iter().take(2).copied().collect::<Vec<_>>().join(" "), words.first().copied().unwrap_or_default().into()];
    let Some(lines) = names.iter().find_map(|name| SCHEMA["commands"][name].as_array()) else {
        panic!("the schema has no command {names:?}");
    };
    let failed = ![0, 3].contains(&status); // 3: a part of it was done, and the lines say which.
    let last = stdout.lines().count().saturating_sub(1);
    let mut said_why = false;
    for (at, line) in stdout.lines().enumerate() {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        let may_be_error = (failed && at == last).then_some("error");
        said_why |= ["error", "report", "verified"].iter().any(|event| value["event"] == *event);
        let known = lines.iter().map(|name| name.as_str().unwrap()).chain(may_be_error);
        let wrong: Vec<String> =
            known.map(|name| conforms(&value, &named(name), name).err()).collect::<Option<_>>().unwrap_or_default();
        // One of them fits: nothing was collected.
        assert!(wrong.is_empty(), "{command_line}: {line}\nis none of its lines: {wrong:#?}");
    }
    assert!(said_why || !failed, "{command_line}: it ended with {status}, and no line says why: {stdout}");
}

fn named(name: &str) -> Value {
    let found = &SCHEMA["$defs"][name];
    assert!(found.is_object(), "{name} is not defined");
    found.clone()
}

fn resolved(schema: &Value) -> Value {
    match schema["$ref"].as_str() {
        Some(name) => named(name.trim_start_matches("#/$defs/")),
        None => schema.clone(),
    }
}

/// Whether a value is what the schema says; `at` is where it stands.
fn conforms(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let schema = resolved(schema);
    let wrong = |what: &str| Err(format!("{at}: {value} {what}"));
    if let Some(any) = schema["anyOf"].as_array() {
        return match any.iter().any(|schema| conforms(value, schema, at).is_ok()) {
            true => Ok(()),
            false => wrong("is none of what it may be"),
        };
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        return wrong("is another constant");
    }
    if schema["enum"].as_array().is_some_and(|words| !words.contains(value)) {
        return wrong("is no word that is known");
    }
    if !schema["type"].is_null() && !types(&schema["type"]).iter().any(|name| is_of(value, name)) {
        return wrong("is of another type");
    }
    if schema["minimum"].as_f64().is_some_and(|least| value.as_f64().is_some_and(|number| number < least)) {
        return wrong("is too small");
    }
    let is_text_of = |format: &str| schema["format"] == format && value.is_string();
    if is_text_of("uuid") && uuid::Uuid::parse_str(value.as_str().unwrap_or_default()).is_err() {
        return wrong("is no uuid");
    }
    if let (Some(items), false) = (value.as_array(), schema["items"].is_null()) {
        items.iter().try_for_each(|item| conforms(item, &schema["items"], &format!("{at}[]")))?;
    }
    match value.as_object() {
        Some(_) => object(value, &schema, at),
        None => Ok(()),
    }
}

fn object(value: &Value, schema: &Value, at: &str) -> Result<(), String> {
    let mut parts = vec![schema.clone()];
    parts.extend(schema["allOf"].as_array().into_iter().flatten().map(resolved));
    if parts.iter().all(|part| part["properties"].is_null() && part["additionalProperties"].is_null()) {
        return Ok(());
    }
    let mut known = HashSet::new();
    for part in &parts {
        for name in part["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
            if value.get(name).is_none() {
                return Err(format!("{at}: {name} is missing"));
            }
        }
        for (name, schema) in part["properties"].as_object().into_iter().flatten() {
            known.insert(name.as_str());
            if let Some(value) = value.get(name) {
                conforms(value, schema, &format!("{at}.{name}"))?;
            }
        }
    }
    let others = value.as_object().into_iter().flatten().filter(|(name, _)| !known.contains(name.as_str()));
    for (name, value) in others {
        match &schema["additionalProperties"] {
            Value::Bool(true) => {}
            schema if schema.is_object() => conforms(value, schema, &format!("{at}.{name}"))?,
            _ => return Err(format!("{at}: {name} is not in the schema")),
        }
    }
    Ok(())
}

fn types(named: &Value) -> Vec<&str> {
    match named {
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect(),
        name => name.as_str().into_iter().collect(),
    }
}

fn is_of(value: &Value, name: &str) -> bool {
    match name {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => panic!("{name} is no type"),
    }
}
