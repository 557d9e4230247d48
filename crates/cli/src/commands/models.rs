//! `tsumugi models`: the families that can be trained, loaded and served; the catalogue, and what is here.

use clap::Args;
use serde_json::json;
use tsumugi_hub::{Hub, Settings};

use super::{Command, pull};
use crate::flags::Json;
use crate::output::{Answer, Failure, print, print_json};

/// List the model families, the catalogue, and the models that were pulled
///
/// A decoder of any of the families can be trained, loaded from a folder, served and saved; encoders give embeddings and scores.
#[derive(Debug, Args)]
pub struct Models {
    #[command(flatten)]
    json: Json,
}

impl Command for Models {
    const NAME: &'static str = "models";
    const EXAMPLES: &'static str = "tsumugi models";

    fn run(self) -> Result<Answer, Failure> {
        let hub = Hub::new(Settings::from_environment()?);
        if self.json.json {
            let families: Vec<_> =
                families().map(|(name, about)| json!({"model_type": name, "about": about})).collect();
            let mut listed = pull::listing_json(&hub);
            listed["families"] = json!(families);
            print_json(&listed)?;
        } else {
            let width = families().map(|(name, _)| name.len()).max().unwrap_or(0);
            let lines = families().map(|(name, about)| format!("{name:width$}  {about}\n"));
            print(&format!("{}\n{}", lines.collect::<String>(), pull::listing(&hub)))?;
        }
        Ok(Answer::Done)
    }
}

/// Names of decoders, then of encoders, with a line each.
fn families() -> impl Iterator<Item = (&'static str, &'static str)> {
    let decoders = tsumugi_models::ALL.iter().map(|family| (family.name(), family.about()));
    decoders.chain(tsumugi_models::bert::ALL.iter().map(|family| (family.name, family.about)))
}
