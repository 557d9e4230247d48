//! `tsumugi models`: the families that can be trained, loaded and served.

use clap::Args;
use serde_json::json;

use super::Command;
use crate::flags::Json;
use crate::output::{Answer, Failure, print, print_json};

/// List the model families
///
/// A model of any of them can be trained, loaded from a folder, served and saved.
#[derive(Debug, Args)]
pub struct Models {
    #[command(flatten)]
    json: Json,
}

impl Command for Models {
    const NAME: &'static str = "models";
    const EXAMPLES: &'static str = "tsumugi models";

    fn run(self) -> Result<Answer, Failure> {
        if self.json.json {
            let families: Vec<_> = tsumugi_models::ALL
                .iter()
                .map(|family| json!({"model_type": family.name(), "about": family.about()}))
                .collect();
            print_json(&json!({"families": families}))?;
        } else {
            let width = tsumugi_models::ALL.iter().map(|family| family.name().len()).max().unwrap_or(0);
            let lines =
                tsumugi_models::ALL.iter().map(|family| format!("{:width$}  {}\n", family.name(), family.about()));
            print(&lines.collect::<String>())?;
        }
        Ok(Answer::Done)
    }
}
