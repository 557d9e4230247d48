//! Buckets of S3 and what speaks its language, as `aws s3api get-bucket-…` prints their settings.

use std::net::IpAddr;

use serde_json::Value;

use crate::context::Scan;
use crate::finding::Severity;
use crate::rules;

/// Keys by whose texts only who is known may be let in; `aws:SourceIp` does it by ranges.
const NARROW: [&str; 7] = [
    "aws:principalorgid",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:sourceaccount",
    "aws:sourcearn",
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
        None if inner.is_some() => scan.unread_as(&rules::NOT_JUDGED, None, "the policy in it cannot be read"),
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
        scan.find(
            &rules::BUCKET_TLS,
            None,
            "aws:SecureTransport",
            "no statement denies all that comes without TLS, whoever asks",
        );
    }
}

/// A statement that allows something.
fn look_at_grant(statement: &Value, scan: &mut Scan<'_>) {
    let actions = texts(&statement["Action"]);
    let is_wide = statement.get("NotAction").is_some() || actions.iter().any(|action| is_all(action));
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
    let only_reads = |action: &&str| {
        let action = action.to_ascii_lowercase();
        ["s3:get", "s3:list", "s3:head"].iter().any(|verb| action.starts_with(verb))
    };
    let reads_only = !is_wide && !actions.is_empty() && actions.iter().all(only_reads);
    let severity = match conditions.iter().map(Condition::hold).max().unwrap_or(Hold::Nobody) {
        Hold::Strangers => Severity::Low,
        Hold::Some => Severity::Medium,
        Hold::Nobody if reads_only => Severity::High,
        Hold::Nobody => Severity::Critical,
    };
    let what = if reads_only { "read" } else { "write or change" };
    let keys = |holds: &dyn Fn(Hold) -> bool| {
        let fitting = conditions.iter().filter(|condition| holds(condition.hold()));
        fitting.map(|condition| condition.key.as_str()).collect::<Vec<_>>().join(", ")
    };
    let (hold, idle) = (keys(&|hold| hold != Hold::Nobody), keys(&|hold| hold == Hold::Nobody));
    let but = match (hold.is_empty(), idle.is_empty()) {
        (false, _) => format!(", if {hold} fits"),
        (true, false) => format!("; what is asked of {idle} keeps nobody out"),
        (true, true) => String::new(),
    };
    scan.find_as(&rules::BUCKET_PUBLIC, severity, None, "Principal", format!("everybody may {what}{but}"));
}

/// Whether an action is every action: `*`, `s3:*`, in letters of any case.
fn is_all(action: &str) -> bool {
    let action = action.to_ascii_lowercase();
    action.strip_suffix('*').is_some_and(|start| "s3:".starts_with(start.trim_end_matches('*')))
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

/// Whom a condition keeps out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hold {
    /// Nobody, or so few that the rest is everybody.
    Nobody,
    /// Some: what it asks for is no proof of who asks.
    Some,
    /// Everybody but those that it names.
    Strangers,
}

/// One thing that a statement asks for before it holds. All of a statement's must fit, and of each one value.
struct Condition<'v> {
    /// In lower case, without `IfExists` and without the `ForAnyValue:` before it.
    operator: String,
    /// It also fits where the request does not have the key: `…IfExists`, `ForAllValues:…`.
    is_lenient: bool,
    /// In lower case.
    key: String,
    value: &'v Value,
}

impl Condition<'_> {
    fn hold(&self) -> Hold {
        let values = texts(self.value);
        let all = |fits: &dyn Fn(&str) -> bool| !values.is_empty() && values.iter().all(|value| fits(value));
        let is_any = |value: &&str| !value.is_empty() && value.chars().all(|c| matches!(c, '*' | '?'));
        let is_absence = self.operator == "null" && self.value != "false" && self.value != &Value::Bool(false);
        let is_address = self.operator == "ipaddress";
        let is_text = matches!(
            self.operator.as_str(),
            "stringequals" | "stringequalsignorecase" | "stringlike" | "arnequals" | "arnlike"
        );
        // Everybody can use TLS. A negated operator lets in all but a few.
        if self.key == "aws:securetransport"
            || self.is_lenient
            || is_absence
            || self.operator.contains("not")
            || values.iter().any(is_any)
            || is_address && values.iter().any(|value| range(value) == Some(Range::Wide))
        {
            return Hold::Nobody;
        }
        let is_known = match self.key.as_str() {
            "aws:sourceip" => is_address && all(&|value| range(value) == Some(Range::Narrow)),
            key => is_text && NARROW.contains(&key) && all(&is_fixed),
        };
        if is_known { Hold::Strangers } else { Hold::Some }
    }
}

/// Whether a value names somebody: it has no placeholder, or is an ARN whose account has none.
fn is_fixed(value: &str) -> bool {
    let is_open = |text: &str| text.contains(['*', '?']) || text.contains("${");
    let account = value.split(':').nth(4).filter(|_| value.starts_with("arn:"));
    !value.is_empty() && (!is_open(value) || account.is_some_and(|account| !account.is_empty() && !is_open(account)))
}

/// How much of all addresses a range is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Range {
    /// Wider than /8 (IPv4) or /32 (IPv6), which AWS takes for public, too: all of them, or a large part.
    Wide,
    /// Few.
    Narrow,
}

/// What `10.0.0.0/8`, `2001:db8::/32` or `192.0.2.1` is; none if it is no range.
fn range(text: &str) -> Option<Range> {
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, bits.parse::<u8>().ok()?),
        None => (text, u8::MAX),
    };
    let bits_min = if address.parse::<IpAddr>().ok()?.is_ipv4() { 8 } else { 32 };
    Some(if bits < bits_min { Range::Wide } else { Range::Narrow })
}

/// What a statement asks for.
fn conditions(value: &Value) -> Vec<Condition<'_>> {
    let operators = value.as_object().into_iter().flatten();
    let parts = |operator: &str| {
        let operator = operator.to_ascii_lowercase();
        let bare = operator.strip_suffix("ifexists").unwrap_or(&operator);
        let bare = bare.strip_prefix("forallvalues:").unwrap_or(bare);
        let is_lenient = bare.len() != operator.len();
        (bare.strip_prefix("foranyvalue:").unwrap_or(bare).to_owned(), is_lenient)
    };
    operators
        .flat_map(|(operator, keys)| {
            let (operator, is_lenient) = parts(operator);
            keys.as_object().into_iter().flatten().map(move |(key, value)| Condition {
                operator: operator.clone(),
                is_lenient,
                key: key.to_ascii_lowercase(),
                value,
            })
        })
        .collect()
}

/// Whether a statement denies whatever comes without TLS: every action on every object, whoever asks. What it demands
/// besides would let something through.
fn demands_tls(statement: &Value) -> bool {
    let is_false = |value: &Value| value == "false" || *value == Value::Bool(false);
    let conditions = conditions(&statement["Condition"]);
    let [condition] = conditions.as_slice() else { return false };
    statement["Effect"] == "Deny"
        && is_everybody(&statement["Principal"])
        && texts(&statement["Action"]).into_iter().any(is_all)
        && texts(&statement["Resource"]).into_iter().any(has_all_objects)
        && condition.key == "aws:securetransport"
        && matches!(condition.operator.as_str(), "bool" | "stringequals")
        && (is_false(condition.value) || is_false(&condition.value[0]))
}

/// Whether every object of a bucket is meant: `*`, `arn:aws:s3:::bucket/*`, `arn:aws:s3:::bucket*`.
fn has_all_objects(resource: &str) -> bool {
    let name = resource.rsplit(":::").next().unwrap_or(resource);
    name.split_once('/').map_or(name.ends_with('*'), |(_, objects)| objects == "*")
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
