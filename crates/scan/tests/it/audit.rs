//! Configurations: each hole is found, and those without are clean.

use std::path::Path;

use tsumugi_base::testing::{mutations, temporary_folder};
use tsumugi_scan::audit::{audit, audit_text};
use tsumugi_scan::{FileReport, Severity};

fn look(text: &str) -> FileReport {
    audit_text(text, Path::new("configuration"))
}

/// Rules and severities, the worst first.
fn found(text: &str) -> Vec<(&'static str, Severity)> {
    let report = look(text);
    assert_eq!(report.unread, None, "{text}");
    report.findings.iter().map(|finding| (finding.rule.id, finding.severity)).collect()
}

use Severity::{Critical, High, Low, Medium};

#[test]
fn our_server() {
    let exposed = [("audit-exposed-server", High), ("audit-no-tls", Medium)];
    assert_eq!(found("ExecStart=/usr/bin/tsumugi serve m --address 0.0.0.0\n"), exposed);
    assert_eq!(found("tsumugi serve m --address 10.0.0.1 --api-key $KEY"), [("audit-no-tls", Medium)]);
    assert_eq!(found("TSUMUGI_API_KEY=abc\ntsumugi serve m"), [("audit-written-key", Medium)]);
    assert_eq!(found("tsumugi serve m --api-key=abc"), [("audit-written-key", Medium)]);
    for clean in ["tsumugi serve m", "tsumugi serve m --address 127.0.0.1", "TSUMUGI_API_KEY=${KEY}\ntsumugi serve m"] {
        assert_eq!(found(clean), [], "{clean}");
    }
}

#[test]
fn mlflow_servers() {
    for (text, expected) in [
        ("mlflow server --host 0.0.0.0", vec![("audit-exposed-server", High)]),
        ("mlflow server", vec![("audit-exposed-server", Low)]),
        ("mlflow server --host 0.0.0.0 --app-name basic-auth", vec![("audit-no-tls", Medium)]),
        ("mlflow server --app-name basic-auth --artifacts-destination s3://b/p", vec![]),
        (
            "mlflow server --app-name basic-auth --default-artifact-root file:///srv",
            vec![("audit-artifact-path", Medium)],
        ),
        (
            "mlflow server --app-name basic-auth --artifacts-destination ./a/../../etc",
            vec![("audit-artifact-path", High)],
        ),
        (
            "mlflow server --app-name basic-auth --backend-store-uri postgresql://u:secret@h/db",
            vec![("audit-written-key", Medium)],
        ),
        ("mlflow server --app-name basic-auth --backend-store-uri postgresql://u:${PASSWORD}@h/db", vec![]),
        ("mlflow server --app-name basic-auth --allowed-hosts '*'", vec![("audit-check-disabled", High)]),
        ("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE=true", vec![("audit-check-disabled", High)]),
        ("MLFLOW_TRACKING_URI=http://mlflow.example.org:5000", vec![("audit-no-tls", Medium)]),
        ("MLFLOW_TRACKING_URI=https://mlflow.example.org", vec![]),
        ("MLFLOW_TRACKING_PASSWORD=abc", vec![("audit-written-key", Medium)]),
        (
            "[mlflow]\ndefault_permission = READ\nadmin_username = admin\nadmin_password = password1234\n",
            vec![("audit-default-password", Critical), ("audit-open-permission", Low)],
        ),
        ("[mlflow]\ndefault_permission = MANAGE\n", vec![("audit-open-permission", High)]),
        ("[mlflow]\ndefault_permission = NO_PERMISSIONS\nadmin_password = ${PASSWORD}\n", vec![]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
}

#[test]
fn versions_of_mlflow() {
    for text in [
        "mlflow==2.2.0",
        "mlflow[auth]==2.2.0 # pinned",
        "image: ghcr.io/mlflow/mlflow:v2.2.0",
        "[[package]]\nname = \"mlflow\"\nversion = \"2.2.0\"\n",
        "mlflow-skinny==2.2",
    ] {
        let report = look(text);
        assert_eq!(report.findings[0].rule.id, "audit-vulnerable-version", "{text}");
        assert!(report.findings[0].message.starts_with("MLflow 2.2.0 has CVE-2023-1177, CVE-2023-2780, "), "{text}");
    }
    let message = look("mlflow==2.22.4").findings[0].message.clone();
    assert_eq!(
        message,
        "MLflow 2.22.4 has CVE-2025-14279, CVE-2026-2614, CVE-2026-0545, CVE-2026-2652, CVE-2026-2651, CVE-2026-4137"
    );
    let has = |text: &str, advisory: &str| look(text).findings[0].message.contains(advisory);
    assert!(has("mlflow==2.21.3", "CVE-2025-11200") && !has("mlflow==2.22.0", "CVE-2025-11200"));
    assert!(has("mlflow==2.9.2rc1", "CVE-2023-6975") && !has("mlflow==2.9.2", "CVE-2023-6975"));
    assert!(has("name = \"mlflow\"\r\nversion = \"2.2.0\"\r\n", "MLflow 2.2.0 has CVE-2023-1177"));
}

#[test]
fn ranges_of_mlflow_are_judged_by_what_is_certain() {
    let (vulnerable, open) = (("audit-vulnerable-version", Critical), ("audit-open-version", Low));
    for (text, expected) in [
        ("mlflow==3.11.0", vec![]),
        ("mlflow>=3.11", vec![]),
        ("mlflow~=3.12.1", vec![]),
        ("mlflow>=2.0", vec![open]),
        ("mlflow<4", vec![open]),
        ("mlflow>=2.0,<3", vec![vulnerable, open]),
        ("mlflow>=3.10.1,<3.11", vec![vulnerable]),
        ("mlflow<=2.2.0", vec![vulnerable]),
        ("  - mlflow=2.2.0=py39_0", vec![vulnerable]),
    ] {
        assert_eq!(found(text), expected, "{text}");
    }
    assert_eq!(look("mlflow==3.10.1").findings[0].message, "MLflow 3.10.1 has CVE-2026-2651, CVE-2026-4137");
    let report = look("mlflow>=3.0,<=3.9.0");
    assert_eq!(
        report.findings[0].message,
        "every MLflow that `mlflow>=3.0,<=3.9.0` allows has CVE-2026-2614, CVE-2026-0545, CVE-2026-2652, CVE-2026-2651, CVE-2026-4137"
    );
    for text in ["azureml-mlflow==1.48.0", "kedro-mlflow==0.11.0", "# mlflow==2.2.0"] {
        assert_eq!(look(text).formats, [""; 0], "{text}: nothing of MLflow");
    }
}

#[test]
fn policies_of_buckets() {
    let tls = r#"{"Effect":"Deny","Principal":"*","Action":"s3:*","Resource":"*",
                  "Condition":{"Bool":{"aws:SecureTransport":"false"}}}"#;
    let with = |statement: &str| format!(r#"{{"Version":"2012-10-17","Statement":[{tls},{statement}]}}"#);
    for (statement, expected) in [
        (r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject"}"#, vec![("bucket-public", High)]),
        (
            r#"{"Effect":"Allow","Principal":{"AWS":["*"]},"Action":["s3:GetObject","s3:PutObject"]}"#,
            vec![("bucket-public", Critical)],
        ),
        (r#"{"Effect":"Allow","NotPrincipal":{"AWS":"1"},"Action":"*"}"#, vec![("bucket-public", Critical)]),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Condition":{"StringEquals":{"aws:PrincipalOrgID":"o-1"}}}"#,
            vec![("bucket-public", Low)],
        ),
        (
            r#"{"Effect":"Allow","Principal":"*","Action":"s3:GetObject","Condition":{"StringLike":{"aws:Referer":"x"}}}"#,
            vec![("bucket-public", Medium)],
        ),
        (
            r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:*"}"#,
            vec![("bucket-wide-actions", Medium)],
        ),
        (r#"{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::1:root"},"Action":"s3:GetObject"}"#, vec![]),
    ] {
        let policy = with(statement);
        assert_eq!(found(&policy), expected, "{statement}");
        let printed = serde_json::json!({"Policy": policy}).to_string();
        assert_eq!(found(&printed), expected, "as the command line of AWS prints it");
    }
    let without = r#"{"Statement":{"Effect":"Allow","Principal":{"AWS":"a"},"Action":"s3:GetObject"}}"#;
    assert_eq!(found(without), [("bucket-no-tls", Medium)]);
}

#[test]
fn conditions_narrow_by_operator_and_value() {
    let severity = |condition: &str| {
        let policy = format!(
            r#"{{"Statement":[{{"Effect":"Allow","Principal":"*","Action":"S3:GetObject","Condition":{condition}}}]}}"#
        );
        look(&policy).findings.iter().find(|finding| finding.rule.id == "bucket-public").unwrap().severity
    };
    for (condition, expected) in [
        (r#"{"StringEquals":{"AWS:principalorgid":["o-1","o-2"]}}"#, Low),
        (r#"{"ForAnyValue:StringEquals":{"aws:PrincipalAccount":"123456789012"}}"#, Low),
        (r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::123456789012:role/*"}}"#, Low),
        (r#"{"IpAddress":{"aws:SourceIp":["10.0.0.0/8","2001:db8::/32","192.0.2.1"]}}"#, Low),
        // Both must fit, so the narrower counts.
        (r#"{"Bool":{"aws:SecureTransport":"true"},"StringEquals":{"aws:SourceVpce":"vpce-1"}}"#, Low),
        (r#"{"StringLike":{"aws:PrincipalOrgID":"o-*"}}"#, Medium),
        (r#"{"ArnLike":{"aws:PrincipalArn":"arn:aws:iam::*:role/x"}}"#, Medium),
        (r#"{"StringEquals":{"aws:PrincipalOrgID":["o-1","${x}"]}}"#, Medium),
        (r#"{"StringEquals":{"aws:PrincipalOrgID":[]}}"#, Medium),
        (r#"{"StringEquals":{"aws:SourceIp":"10.0.0.1"}}"#, Medium),
        (r#"{"IpAddress":{"aws:SourceIp":"${OFFICE}"}}"#, Medium),
        (r#"{"StringNotEquals":{"aws:PrincipalOrgID":"o-1"}}"#, High),
        (r#"{"NotIpAddress":{"aws:SourceIp":"192.0.2.1"}}"#, High),
        (r#"{"ArnNotLike":{"aws:PrincipalArn":"arn:aws:iam::1:x"}}"#, High),
        (r#"{"StringEqualsIfExists":{"aws:PrincipalOrgID":"o-1"}}"#, High),
        (r#"{"ForAllValues:StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#, High),
        (r#"{"Null":{"aws:PrincipalOrgID":"true"}}"#, High),
        (r#"{"IpAddress":{"aws:SourceIp":"0.0.0.0/0"}}"#, High),
        (r#"{"IpAddress":{"aws:SourceIp":["192.0.2.1","::/0"]}}"#, High),
        (r#"{"IpAddress":{"aws:SourceIp":["0.0.0.0/1","128.0.0.0/1"]}}"#, High),
        (r#"{"IpAddress":{"aws:SourceIp":"*"}}"#, High),
        (r#"{"StringLike":{"aws:PrincipalAccount":"*"}}"#, High),
        (r#"{"StringLike":{"aws:PrincipalAccount":["1","**"]}}"#, High),
        (r#"{"Bool":{"aws:SecureTransport":"true"}}"#, High),
        ("{}", High),
    ] {
        assert_eq!(severity(condition), expected, "{condition}");
    }
    let idle = r#"{"Statement":{"Effect":"Allow","Principal":"*","Action":"s3:ListBucket","Condition":
        {"NotIpAddress":{"aws:SourceIp":"192.0.2.1"}}}}"#;
    let message = &look(idle).findings[0].message;
    assert_eq!(message, "everybody may read; what is asked of aws:sourceip keeps nobody out");
}

#[test]
fn actions_of_buckets_have_no_case() {
    let tls = r#"{"Effect":"Deny","Principal":{"AWS":"*"},"Action":"S3:*","Resource":["arn:aws:s3:::b","arn:aws:s3:::b/*"],
                  "Condition":{"Bool":{"AWS:securetransport":[false]}}}"#;
    for (action, expected) in [
        ("S3:*", vec![("bucket-wide-actions", Medium)]),
        ("s*", vec![("bucket-wide-actions", Medium)]),
        ("S3:getobject", vec![]),
        ("s3:Get*", vec![]),
    ] {
        let allow = format!(r#"{{"Effect":"Allow","Principal":{{"AWS":"arn:aws:iam::1:root"}},"Action":"{action}"}}"#);
        assert_eq!(found(&format!(r#"{{"Statement":[{tls},{allow}]}}"#)), expected, "{action}");
    }
}

#[test]
fn a_denial_without_tls_covers_everything() {
    let denial = |changed: &str, value: &str| {
        let mut parts = serde_json::json!({"Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": "*",
            "Condition": {"Bool": {"aws:SecureTransport": "false"}}});
        parts[changed] = serde_json::from_str(value).unwrap();
        found(&serde_json::json!({"Statement": [parts]}).to_string())
    };
    assert_eq!(denial("Sid", r#""tls""#), []);
    assert_eq!(denial("Resource", r#"["arn:aws:s3:::b","arn:aws:s3:::b/*"]"#), []);
    for (part, value) in [
        ("Action", r#""s3:GetObject""#),
        ("Action", "null"),
        ("Principal", r#"{"AWS":"arn:aws:iam::1:root"}"#),
        ("Resource", r#""arn:aws:s3:::b/private/*""#),
        ("Resource", r#""arn:aws:s3:::b""#),
        ("Condition", r#"{"Bool":{"aws:SecureTransport":"true"}}"#),
        ("Condition", r#"{"StringNotEquals":{"aws:SecureTransport":"false"}}"#),
        ("Condition", r#"{"Bool":{"aws:SecureTransport":"false"},"StringEquals":{"aws:PrincipalOrgID":"o-1"}}"#),
    ] {
        assert_eq!(denial(part, value), [("bucket-no-tls", Medium)], "{part} {value}");
    }
}

#[test]
fn other_settings_of_buckets() {
    let group = "http://acs.amazonaws.com/groups/global";
    for (text, expected) in [
        (format!(r#"{{"Grants":[{{"Grantee":{{"URI":"{group}/AllUsers"}},"Permission":"READ"}}]}}"#), vec![("bucket-public", High)]),
        (
            format!(r#"{{"Grants":[{{"Grantee":{{"URI":"{group}/AuthenticatedUsers"}},"Permission":"WRITE"}}]}}"#),
            vec![("bucket-public", Critical)],
        ),
        (r#"{"Grants":[{"Grantee":{"ID":"1"},"Permission":"FULL_CONTROL"}]}"#.into(), vec![]),
        (r#"{"PublicAccessBlockConfiguration":{"BlockPublicAcls":true}}"#.into(), vec![("bucket-access-block", High)]),
        (
            r#"{"PublicAccessBlockConfiguration":{"BlockPublicAcls":true,"IgnorePublicAcls":true,"BlockPublicPolicy":true,"RestrictPublicBuckets":true}}"#.into(),
            vec![],
        ),
        (r#"{"ServerSideEncryptionConfiguration":{"Rules":[]}}"#.into(), vec![("bucket-no-encryption", Medium)]),
        (r#"{"ServerSideEncryptionConfiguration":{"Rules":[{}]}}"#.into(), vec![]),
        (r#"{"Status":"Suspended"}"#.into(), vec![("bucket-no-versioning", Low)]),
        (r#"{"Status":"Enabled"}"#.into(), vec![]),
    ] {
        assert_eq!(found(&text), expected, "{text}");
    }
}

#[test]
fn what_is_not_known_is_not_clean() {
    for text in ["", "hello", "{}", "[1]", r#"{"Policy":"{"}"#] {
        let report = look(text);
        assert!(report.unread.is_some(), "{text}");
        assert_eq!(report.findings[0].rule.id, "audit-not-judged", "{text}");
    }
    let folder = temporary_folder();
    let path = folder.path().join("a.bin");
    std::fs::write(&path, b"\xff\0").unwrap();
    let file = &audit(std::slice::from_ref(&path)).unwrap().files[0];
    assert!(file.unread.is_some());
    assert_eq!(file.findings[0].rule.id, "audit-not-judged");
    assert!(audit(&[folder.path().join("none")]).is_err());
}

#[test]
fn no_broken_configuration_is_a_panic() {
    let texts = [
        "# ü\nCMD [\"mlflow\",\"server\",\"--host=0.0.0.0\"]\nENV MLFLOW_TRACKING_PASSWORD \"ä\"\nmlflow>=2.2.0,<3rc1\nname = \"mlflow\"\r\nversion = \"1.0\"\nmlflow = \"^0.9\"\n",
        r#"{"Policy":"{\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":\"*\"},\"Action\":\"s3:*\"}]}","Grants":[{}]}"#,
    ];
    for text in texts {
        for mutation in mutations(text.as_bytes(), 3, 2000) {
            look(&String::from_utf8_lossy(&mutation.bytes));
        }
    }
}
