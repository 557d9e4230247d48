//! `tsumugi serve`, as scripts and units start it.

use tsumugi_base::hosts;

use super::words::{commands, is_literal, setting};
use crate::context::Scan;
use crate::rules;

/// Tells what is wrong; whether there is a command at all.
pub fn look(text: &str, scan: &mut Scan<'_>) -> bool {
    let commands = commands(text, "tsumugi", &["serve"]);
    let key = setting(text, "TSUMUGI_API_KEY");
    for command in &commands {
        let given = command.option(&["--api-key"]);
        if let Some((address, offset)) = command.option(&["--address"]).filter(|(address, _)| is_open(address)) {
            if given.is_none() && key.is_none() {
                let message = format!("`tsumugi serve` listens at {address} and asks for no key");
                scan.find(&rules::EXPOSED_SERVER, Some(offset), "tsumugi serve", message);
            }
            let message = format!("`tsumugi serve` listens at {address}, and speaks HTTP only");
            scan.find(&rules::NO_TLS, Some(offset), "tsumugi serve", message);
        }
        if let Some((_, offset)) = given.filter(|(key, _)| is_literal(key)) {
            scan.find(
                &rules::WRITTEN_KEY,
                Some(offset),
                "--api-key",
                "a key stands on the command line of `tsumugi serve`",
            );
        }
    }
    if let Some((_, offset)) = key.filter(|(key, _)| is_literal(key)) {
        scan.find(&rules::WRITTEN_KEY, Some(offset), "TSUMUGI_API_KEY", "`TSUMUGI_API_KEY` is written out");
    }
    !commands.is_empty() || key.is_some()
}

/// Whether other machines reach a server that listens there.
pub fn is_open(address: &str) -> bool {
    is_literal(address) && !hosts::is_loopback_host(address)
}
