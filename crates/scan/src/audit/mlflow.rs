//! MLflow's tracking server: how it is started, who may use it, and which version it is.

use super::server::is_open;
use super::versions::{Requirement, Version, requirements};
use super::words::{Command, commands, is_literal, setting};
use crate::context::Scan;
use crate::finding::Severity;
use crate::rules;

/// The passwords of the administrator that versions of MLflow come with.
const DEFAULT_PASSWORDS: [&str; 2] = ["password", "password1234"];

/// Advisories, and the first release without each, as of November 2026.
///
/// From the entries in GitHub's advisory database, in PyPI's, or in Bitnami's at OSV. Where the published files of the
/// releases say more than these, the code decides: CVE-2023-6568 is gone in 2.9.0 (PyPI's entry: 2.9.1), CVE-2024-1483 in
/// 2.11.2 (GitHub's first: after 2.9.2), CVE-2026-0545 (GitHub names no fixed release) and CVE-2026-2652 in 3.10.0. Of
/// CVE-2024-1560 only is known that 2.9.2 has it; the code that it names was the same in 2.12.1, so later releases may have it
/// too. Where a candidate (`2.22.0rc0`) was the first to be fixed, its release stands here. Backports (a patched 2.9.1 of a
/// distribution, fixes in an older series) and the first version that had a flaw are not known to this table: every version
/// before the fixed one counts.
const ADVISORIES: &[(&str, Version)] = &[
    ("CVE-2023-1177", Version::new(2, 2, 1)),
    ("CVE-2023-2780", Version::new(2, 3, 1)),
    ("CVE-2023-6568", Version::new(2, 9, 0)),
    ("CVE-2024-0520", Version::new(2, 9, 0)),
    ("CVE-2023-6831", Version::new(2, 9, 2)),
    ("CVE-2023-6909", Version::new(2, 9, 2)),
    ("CVE-2023-6975", Version::new(2, 9, 2)),
    ("CVE-2024-27132", Version::new(2, 10, 0)),
    ("CVE-2024-27133", Version::new(2, 10, 0)),
    ("CVE-2024-3573", Version::new(2, 10, 0)),
    ("CVE-2024-1560", Version::new(2, 10, 0)),
    ("CVE-2024-1483", Version::new(2, 11, 2)),
    ("CVE-2024-1593", Version::new(2, 11, 3)),
    ("CVE-2024-1558", Version::new(2, 12, 1)),
    ("CVE-2025-11200", Version::new(2, 22, 0)),
    ("CVE-2025-11201", Version::new(2, 22, 4)),
    ("CVE-2025-14279", Version::new(3, 5, 0)),
    ("CVE-2026-2614", Version::new(3, 10, 0)),
    ("CVE-2026-0545", Version::new(3, 10, 0)),
    ("CVE-2026-2652", Version::new(3, 10, 0)),
    ("CVE-2026-2651", Version::new(3, 11, 0)),
    ("CVE-2026-4137", Version::new(3, 11, 0)),
];

/// Tells what is wrong; whether MLflow is configured here at all.
pub fn look(text: &str, scan: &mut Scan<'_>) -> bool {
    let commands = commands(text, "mlflow", &["server", "ui"]);
    for command in &commands {
        look_at_command(command, text, scan);
    }
    let has_settings = look_at_settings(text, scan);
    let has_users = look_at_users(text, scan);
    let requirements = requirements(text, "mlflow");
    for requirement in &requirements {
        look_at_version(requirement, scan);
    }
    !commands.is_empty() || has_settings || has_users || !requirements.is_empty()
}

/// Judges what is certain of every version that is allowed; what depends on the one that is taken is told as not
/// judged.
fn look_at_version(requirement: &Requirement<'_>, scan: &mut Scan<'_>) {
    let (certain, rest): (Vec<_>, Vec<_>) = ADVISORIES.iter().partition(|(_, fixed)| requirement.is_before(*fixed));
    let is_open = requirement.exact().is_none() && rest.iter().any(|(_, fixed)| requirement.lowest < *fixed);
    let Requirement { text, offset, .. } = requirement;
    if !certain.is_empty() {
        let known = certain.iter().map(|(advisory, _)| *advisory).collect::<Vec<_>>().join(", ");
        let message = match requirement.exact() {
            Some(version) => format!("MLflow {version} has {known}"),
            None => format!("every MLflow that `{text}` allows has {known}"),
        };
        scan.find(&rules::VULNERABLE_VERSION, Some(*offset), "mlflow", message);
    }
    if is_open {
        let message = format!("not judged: `{text}` allows versions of MLflow with known vulnerabilities, and others");
        scan.find(&rules::OPEN_VERSION, Some(*offset), "mlflow", message);
    }
}

fn look_at_command(command: &Command<'_>, text: &str, scan: &mut Scan<'_>) {
    let host = command.option(&["--host", "-h"]).or_else(|| setting(text, "MLFLOW_HOST"));
    let has_users = command.option(&["--app-name"]).is_some();
    match host.filter(|(host, _)| is_open(host)) {
        Some((host, offset)) if !has_users => {
            let message = format!("MLflow listens at {host} and asks nobody who they are (no `--app-name basic-auth`)");
            scan.find(&rules::EXPOSED_SERVER, Some(offset), "mlflow", message);
        }
        Some((host, offset)) => {
            let message = format!("MLflow listens at {host}, and speaks HTTP: passwords can be read on the way");
            scan.find(&rules::NO_TLS, Some(offset), "mlflow", message);
        }
        None if !has_users => {
            let message =
                "MLflow asks nobody who they are: whoever reaches the machine, or a proxy in front, may do all";
            scan.find_as(&rules::EXPOSED_SERVER, Severity::Low, Some(command.offset), "mlflow", message);
        }
        None => {}
    }
    for option in ["--default-artifact-root", "--artifacts-destination", "--backend-store-uri"] {
        let Some((place, offset)) = command.option(&[option]) else { continue };
        look_at_place(option, place, offset, scan);
    }
    for option in ["--allowed-hosts", "--cors-allowed-origins", "--x-frame-options"] {
        if let Some((_, offset)) = command.option(&[option]).filter(|(value, _)| matches!(*value, "*" | "NONE")) {
            scan.find(&rules::CHECK_DISABLED, Some(offset), option, format!("`{option}` lets everything through"));
        }
    }
}

/// Where artifacts or records lie.
fn look_at_place(option: &str, place: &str, offset: usize, scan: &mut Scan<'_>) {
    let path = place.split_once("://").map_or(place, |(_, path)| path);
    if path.split(['/', '\\', '#', '?']).any(|part| part == "..") {
        let message = format!("`{option} {place}` leads out of its own folder");
        scan.find_as(&rules::ARTIFACT_PATH, Severity::High, Some(offset), option, message);
    } else if let Some((_, password)) = credentials(place).filter(|(_, password)| is_literal(password)) {
        let at = offset + place.find(password).unwrap_or_default();
        scan.find(&rules::WRITTEN_KEY, Some(at), option, format!("a password stands in `{option}`"));
    } else if option != "--backend-store-uri"
        && (place.starts_with("file:") || !place.contains("://"))
        && is_literal(place)
    {
        let message = format!("artifacts lie in a folder of the server (`{option} {place}`)");
        scan.find(&rules::ARTIFACT_PATH, Some(offset), option, message);
    }
}

/// `user` and `password` of `scheme://user:password@host`.
fn credentials(address: &str) -> Option<(&str, &str)> {
    let authority = address.split_once("://")?.1.split('/').next()?;
    authority.rsplit_once('@')?.0.split_once(':')
}

/// Environments: what turns checks off, and passwords that are written out.
fn look_at_settings(text: &str, scan: &mut Scan<'_>) -> bool {
    let mut is_there = false;
    let mut of = |name: &str| {
        let value = setting(text, name);
        is_there |= value.is_some();
        value
    };
    let off = of("MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE").filter(|(value, _)| matches!(*value, "true" | "1"));
    let wide = ["MLFLOW_SERVER_ALLOWED_HOSTS", "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS"];
    let wide = wide.map(|name| of(name).filter(|(value, _)| *value == "*").map(|(_, offset)| (name, offset)));
    let written = ["MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "MLFLOW_FLASK_SERVER_SECRET_KEY"];
    let written = written.map(|name| of(name).filter(|(value, _)| is_literal(value)).map(|(_, offset)| (name, offset)));
    let insecure = of("MLFLOW_TRACKING_INSECURE_TLS").filter(|(value, _)| matches!(*value, "true" | "1"));
    let address = of("MLFLOW_TRACKING_URI");
    if let Some((_, offset)) = off {
        let name = "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE";
        scan.find(&rules::CHECK_DISABLED, Some(offset), name, "MLflow's checks of hosts and origins are turned off");
    }
    for (name, offset) in wide.into_iter().flatten() {
        scan.find(&rules::CHECK_DISABLED, Some(offset), name, format!("`{name}` lets everything through"));
    }
    for (name, offset) in written.into_iter().flatten() {
        scan.find(&rules::WRITTEN_KEY, Some(offset), name, format!("`{name}` is written out"));
    }
    if let Some((_, offset)) = insecure {
        scan.find(
            &rules::NO_TLS,
            Some(offset),
            "MLFLOW_TRACKING_INSECURE_TLS",
            "certificates of the server are not checked",
        );
    }
    if let Some((address, offset)) = address {
        let host = address.strip_prefix("http://").map(|rest| rest.split(['/', ':']).next().unwrap_or(rest));
        if host.is_some_and(is_open) {
            let message = format!("the tracking server is asked over HTTP: {address}");
            scan.find(&rules::NO_TLS, Some(offset), "MLFLOW_TRACKING_URI", message);
        }
    }
    is_there
}

/// `basic_auth.ini`.
fn look_at_users(text: &str, scan: &mut Scan<'_>) -> bool {
    let (password, permission) = (setting(text, "admin_password"), setting(text, "default_permission"));
    if let Some((value, offset)) = password {
        if DEFAULT_PASSWORDS.contains(&value) {
            let message = "MLflow's administrator has the password that it comes with";
            scan.find(&rules::DEFAULT_PASSWORD, Some(offset), "admin_password", message);
        } else if is_literal(value) {
            scan.find(
                &rules::WRITTEN_KEY,
                Some(offset),
                "admin_password",
                "the administrator's password is written out",
            );
        }
    }
    if let Some((value, offset)) = permission {
        let severity = match value.to_ascii_uppercase().as_str() {
            "NO_PERMISSIONS" => None,
            "READ" => Some(Severity::Low),
            _ => Some(Severity::High),
        };
        if let Some(severity) = severity {
            let message = format!("every user has the permission {value} on what others made");
            scan.find_as(&rules::OPEN_PERMISSION, severity, Some(offset), "default_permission", message);
        }
    }
    password.is_some() || permission.is_some()
}
