//! The API's description against what it answers.

use std::collections::HashSet;

use super::*;
use crate::control::api::openapi::document;
use crate::control::api::table::ROUTES;

/// What of `value` is not as `schema` says, as far as schemas are used here.
fn faults(document: &Value, schema: &Value, value: &Value, at: &str) -> Vec<String> {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document.pointer(reference.trim_start_matches('#'));
        return target.map_or_else(|| vec![format!("{at}: no {reference}")], |s| faults(document, s, value, at));
    }
    for key in ["oneOf", "anyOf"] {
        if let Some(choices) = schema[key].as_array() {
            let fits = choices.iter().any(|choice| faults(document, choice, value, at).is_empty());
            return if fits { vec![] } else { vec![format!("{at}: {value} is none of {key}")] };
        }
    }
    let mut found = Vec::new();
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ => vec![],
    };
    let is = |kind: &&str| match *kind {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        _ => value.is_object(),
    };
    if !types.is_empty() && !types.iter().any(is) {
        found.push(format!("{at}: {value} is not {types:?}"));
    }
    if let (Some(words), true) = (schema["enum"].as_array(), value.is_string())
        && !words.contains(value)
    {
        found.push(format!("{at}: {value} is not of {words:?}"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        found.extend(faults(document, &schema["items"], item, &format!("{at}[{index}]")));
    }
    let Some(object) = value.as_object() else { return found };
    let (known, required) = properties(document, schema);
    for key in required.iter().filter(|key| !object.contains_key(key.as_str())) {
        found.push(format!("{at} lacks {key}"));
    }
    for (key, value) in object {
        let place = format!("{at}.{key}");
        match known.get(key).or_else(|| schema.get("additionalProperties").filter(|s| s.is_object())) {
            Some(schema) => found.extend(faults(document, schema, value, &place)),
            // An object of which nothing is said may have anything.
            None if known.is_empty() => {}
            None => found.push(format!("{place} is not described")),
        }
    }
    found
}

/// Those of all parts of a schema, and which of them must be there.
fn properties(document: &Value, schema: &Value) -> (serde_json::Map<String, Value>, Vec<String>) {
    if let Some(reference) = schema["$ref"].as_str() {
        return properties(document, document.pointer(reference.trim_start_matches('#')).unwrap());
    }
    let mut known = schema["properties"].as_object().cloned().unwrap_or_default();
    let texts =
        |value: &Value| value.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect();
    let mut required: Vec<String> = texts(&schema["required"]);
    for part in schema["allOf"].as_array().into_iter().flatten() {
        let (more, needed) = properties(document, part);
        known.extend(more);
        required.extend(needed);
    }
    (known, required)
}

#[test]
fn every_answer_is_as_it_is_described() {
    let bench = Bench::start(true);
    let served = bench.get("/v1/openapi.json");
    assert_eq!(served, document());
    let mut checked = 0;
    for route in ROUTES.iter().filter(|route| route.method == "get") {
        let described =
            &served["paths"][route.path]["get"]["responses"]["200"]["content"]["application/json"]["schema"];
        if route.path == "/v1/events" || described.is_null() {
            continue;
        }
        let (status, answer) = bench.request("GET", route.path, "");
        let schema = match status {
            200 => described,
            status => {
                &served["paths"][route.path]["get"]["responses"][status.to_string()]["content"]["application/json"]["schema"]
            }
        };
        assert!(schema.is_object(), "{}: {status} is not described", route.path);
        assert_eq!(faults(&served, schema, &answer, route.path), [""; 0]);
        checked += 1;
    }
    assert!(checked >= 14, "{checked}");
    let (_, report) = bench.request("POST", "/v1/reload", "");
    let reference = |name: &str| served["components"]["schemas"][name].clone();
    assert_eq!(faults(&served, &reference("ReloadReport"), &report, "reload"), [""; 0]);
    let (_, plan) = bench.request(
        "POST",
        "/v1/plan",
        &serde_json::json!({ "text": edited(&[("weight = 50", "weight = 7")]) }).to_string(),
    );
    assert_eq!(faults(&served, &reference("Plan"), &plan, "plan"), [""; 0]);
    let (_, error) = bench.request("POST", "/v1/plan", "x");
    assert_eq!(faults(&served, &reference("ApiError"), &error, "error"), [""; 0]);
    // The reader of schemas finds what is wrong.
    assert_eq!(faults(&served, &reference("ApiError"), &serde_json::json!({ "eror": 1 }), "x").len(), 2);
}

#[test]
fn the_description_is_whole() {
    let document = document();
    let mut ids = HashSet::new();
    for route in &ROUTES {
        let operation = &document["paths"][route.path][route.method];
        assert!(ids.insert(operation["operationId"].as_str().unwrap().to_owned()), "{}", route.path);
        assert!(!route.summary.is_empty() && !route.summary.ends_with('.'), "{}", route.path);
        let is_secured = operation["security"].as_array().unwrap().iter().any(|s| s.get("token").is_some());
        assert_eq!(is_secured, !route.path.ends_with('z'), "{}", route.path);
    }
    let operations: usize = document["paths"].as_object().unwrap().values().map(|p| p.as_object().unwrap().len()).sum();
    assert_eq!(operations, ROUTES.len());
    // Every schema that is referred to is there.
    let text = document.to_string();
    for (at, _) in text.match_indices("\"#/components/schemas/") {
        let name = text[at..].split(['"', '/']).nth(4).unwrap();
        assert!(document["components"]["schemas"][name].is_object(), "{name}");
    }
}
