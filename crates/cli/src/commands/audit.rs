//! `tsumugi audit`: configurations of servers and stores, judged as files.

use std::path::PathBuf;

use clap::Args;
use tsumugi_scan::audit::audit;
use tsumugi_scan::{Severity, render, sarif};

use super::Command;
use crate::flags::{Json, severity};
use crate::output::{Answer, Failure, harmless, print, print_json};

/// Look for holes in the configurations of servers and stores, without asking them
///
/// Scripts, units, compose files and environments that start `tsumugi serve` or MLflow's tracking server, its `basic_auth.ini` and versions in requirements, and what `aws s3api
/// get-bucket-policy`, `-acl`, `-encryption`, `-versioning` and `get-public-access-block` print. Findings and exit codes are those of `scan`.
#[derive(Debug, Args)]
pub struct Audit {
    /// Configurations
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The least severity at which the answer is no
    #[arg(long, value_name = "SEVERITY", default_value = "medium", value_parser = severity())]
    fail_on: Severity,
    /// Print SARIF 2.1.0, as code hosts read it
    #[arg(long, conflicts_with = "json")]
    sarif: bool,
    #[command(flatten)]
    json: Json,
}

impl Command for Audit {
    const NAME: &'static str = "audit";
    const EXAMPLES: &'static str = "
        tsumugi audit compose.yaml basic_auth.ini requirements.txt
        tsumugi audit bucket-policy.json --fail-on high";

    fn run(self) -> Result<Answer, Failure> {
        let report = audit(&self.files)?;
        match (self.json.json, self.sarif) {
            (true, _) => print_json(&report.json(self.fail_on))?,
            (_, true) => print_json(&sarif(&report))?,
            _ => print(&harmless(&render(&report, self.fail_on)))?,
        }
        let is_unread = |file: &&tsumugi_scan::FileReport| file.unread.is_some();
        let fails = |file: &tsumugi_scan::FileReport| file.unread.is_none() && file.worst() >= Some(self.fail_on);
        match report.files.iter().find(is_unread) {
            _ if report.files.iter().any(fails) => Ok(Answer::No),
            Some(file) => Err(Failure::new(
                format!("{} was not judged: {}", file.path.display(), file.unread.as_deref().unwrap_or_default()),
                "leave it out, or give the file that starts the server",
            )),
            None => Ok(Answer::Done),
        }
    }
}
