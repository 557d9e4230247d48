//! Buckets of S3 and what speaks its language, as `aws s3api get-bucket-…` prints their settings.

use serde_json::Value;

use crate::context::Scan;
use crate::finding::Severity;
use crate::rules;

/// Conditions that let in only who is known.
const NARROW: [&str; 8] = [
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourcevpc",
    "aws:sourcevpce",
];

/// The four switches of a block of public access.
const BLOCKS: [&str; 4] = ["BlockPublicAcls", "IgnorePublicAcls", "BlockPublicPolicy", "RestrictPublicBuckets"];

/// Tells what is wrong; whether it is a bucket's setting at all.
pub fn look(text: &str, scan: &mut Scan<'_>) -> bool {
    let Ok(Value::Object(object)) = serde_json::from_str::<Value>(text) else { return false };
    let value = Value::Object(object);
    let mut is_known = false;
    let mut part = |key: &str| {
        let found = value.get(key);
        is_known |= found.is_some();
        found
    };
    // A policy comes alone, or as a text in an object.
    let inner = part("Policy").map(|policy| match policy {
        Value::String(text) => serde_json::from_str(text).unwrap_or(Value::Null),
        other => other.clone(),
    });
    let statements = inner.as_ref().and_then(|policy| policy.get("Statement")).or_else(|| part("Statement"));
    match statements {
        Some(statements) => look_at_policy(statements, scan),
        None if inner.is_some() => scan.unread(None, "the policy in it cannot be read"),
        None => {}
    }
    if let Some(grants) = part("Grants") {
        look_at_grants(grants, scan);
    }
    if let Some(blocks) = part("PublicAccessBlockConfiguration") {
        let off: Vec<&str> = BLOCKS.into_iter().filter(|block| blocks[block] != Value::Bool(true)).collect();
        if !off.is_empty() {
            let message = format!("public access is not blocked: {} off", off.join(", "));
            scan.find(&rules::BUCKET_ACCESS_BLOCK, None, "PublicAccessBlock", message);
        }
    }
    let has_no_rules = |encryption: &Value| encryption["Rules"].as_array().is_none_or(Vec::is_empty);
    if part("ServerSideEncryptionConfiguration").is_some_and(has_no_rules) {
        scan.find(&rules::BUCKET_ENCRYPTION, None, "encryption", "nothing says that objects are encrypted");
    }
    if statements.is_none() && part("Status").is_some_and(|status| status != "Enabled") {
        scan.find(&rules::BUCKET_VERSIONING, None, "versioning", "objects have no versions: what is replaced is lost");
    }
    is_known
}

fn look_at_policy(statements: &Value, scan: &mut Scan<'_>) {
    let one = std::slice::from_ref(statements);
    let statements = statements.as_array().map_or(one, Vec::as_slice);
    for (number, statement) in statements.iter().enumerate() {
        let name = statement["Sid"].as_str().map_or_else(|| format!("Statement[{number}]"), str::to_owned);
        if statement["Effect"] == "Allow" {
            scan.within(&name, |scan| look_at_grant(statement, scan));
        }
    }
    if !statements.iter().any(demands_tls) {
        scan.find(&rules::BUCKET_TLS, None, "aws:SecureTransport", "no statement denies what comes without TLS");
    }
}

/// A statement that allows something.
fn look_at_grant(statement: &Value, scan: &mut Scan<'_>) {
    let actions = texts(&statement["Action"]);
    let is_wide = statement.get("NotAction").is_some() || actions.iter().any(|action| matches!(*action, "*" | "s3:*"));
    let everybody = statement.get("NotPrincipal").is_some() || is_everybody(&statement["Principal"]);
    if !everybody {
        if is_wide {
            scan.find(
                &rules::BUCKET_WIDE_ACTIONS,
                None,
                "Action",
                "everything may be done, with the bucket itself too",
            );
        }
        return;
    }
    let conditions = conditions(&statement["Condition"]);
    let only_reads = |action: &&str| ["s3:Get", "s3:List", "s3:Head"].iter().any(|verb| action.starts_with(verb));
    let reads_only = !is_wide && !actions.is_empty() && actions.iter().all(only_reads);
    let severity = if conditions.iter().any(|condition| NARROW.contains(&condition.as_str())) {
        Severity::Low
    } else if !conditions.is_empty() {
        Severity::Medium
    } else if reads_only {
        Severity::High
    } else {
        Severity::Critical
    };
    let what = if reads_only { "read" } else { "write or change" };
    let but = if conditions.is_empty() { String::new() } else { format!(", if {} fits", conditions.join(", ")) };
    scan.find_as(&rules::BUCKET_PUBLIC, severity, None, "Principal", format!("everybody may {what}{but}"));
}

/// A text, or a list of texts.
fn texts(value: &Value) -> Vec<&str> {
    match value {
        Value::String(text) => vec![text],
        Value::Array(list) => list.iter().filter_map(Value::as_str).collect(),
        _ => Vec::new(),
    }
}

fn is_everybody(principal: &Value) -> bool {
    match principal {
        Value::Object(kinds) => kinds.values().any(|names| texts(names).contains(&"*")),
        other => texts(other).contains(&"*"),
    }
}

/// The keys that the conditions of a statement ask for, in lower case.
fn conditions(value: &Value) -> Vec<String> {
    let operators = value.as_object().into_iter().flat_map(|operators| operators.values());
    operators.filter_map(Value::as_object).flat_map(|keys| keys.keys()).map(|key| key.to_ascii_lowercase()).collect()
}

fn demands_tls(statement: &Value) -> bool {
    let is_false = |value: &Value| value == "false" || *value == Value::Bool(false);
    let asks = |keys: &Value| {
        let mut keys = keys.as_object().into_iter().flatten();
        keys.any(|(key, value)| {
            key.eq_ignore_ascii_case("aws:SecureTransport") && (is_false(value) || is_false(&value[0]))
        })
    };
    statement["Effect"] == "Deny"
        && is_everybody(&statement["Principal"])
        && statement["Condition"].as_object().is_some_and(|operators| operators.values().any(asks))
}

fn look_at_grants(grants: &Value, scan: &mut Scan<'_>) {
    for grant in grants.as_array().into_iter().flatten() {
        let group = grant["Grantee"]["URI"].as_str().and_then(|uri| uri.rsplit('/').next()).unwrap_or_default();
        let who = match group {
            "AllUsers" => "everybody",
            "AuthenticatedUsers" => "everybody who has an account of AWS",
            _ => continue,
        };
        let permission = grant["Permission"].as_str().unwrap_or_default();
        let severity = if permission == "READ" { Severity::High } else { Severity::Critical };
        let message = format!("{who} has the permission {permission}");
        scan.find_as(&rules::BUCKET_PUBLIC, severity, None, group, message);
    }
}
