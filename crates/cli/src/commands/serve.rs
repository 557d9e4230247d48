//! `tsumugi serve`: the OpenAI-compatible API and the chat page.

use std::net::{IpAddr, Ipv4Addr};

use clap::Args;
use serde_json::json;
use tsumugi_serve::{Model, Options, Ready, ServeError};

use super::Command;
use crate::flags::{Json, Sampling, Serving, Trust};
use crate::output::{Answer, Failure, print_json, print_line, tell};
use crate::{interrupt, model};

/// Serve models: an OpenAI-compatible API and a chat page
///
/// Models that answer in text, and models of embeddings, which are asked at `/v1/embeddings`: an encoder is one, and a decoder
/// whose files say how its vectors are pooled. Only programs on this machine can reach it, unless `--address` says otherwise.
/// Ctrl-C ends it.
#[derive(Debug, Args)]
pub struct Serve {
    /// Model folders or GGUF files; the name of the folder or file is the model's
    #[arg(required = true, value_name = "MODEL")]
    models: Vec<String>,
    /// Where to listen; 0.0.0.0 lets other machines in
    #[arg(long, value_name = "IP", default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    address: IpAddr,
    /// The port; 0 takes any free one
    #[arg(long, value_name = "N", default_value_t = Options::default().port)]
    port: u16,
    /// Ask for this key; may be given several times
    #[arg(long, value_name = "KEY", env = "TSUMUGI_API_KEY", hide_env_values = true)]
    api_key: Vec<String>,
    #[command(flatten)]
    sampling: Sampling,
    #[command(flatten)]
    serving: Serving,
    #[command(flatten)]
    trust: Trust,
    #[command(flatten)]
    json: Json,
}

impl Command for Serve {
    const NAME: &'static str = "serve";
    const EXAMPLES: &'static str = "
        tsumugi serve runs/quickstart/chat
        tsumugi serve runs/quickstart/chat runs/quickstart/base --port 8000
        tsumugi serve smollm2-135m all-minilm-l6-v2";

    fn run(self) -> Result<Answer, Failure> {
        let serving = self.serving.options()?;
        let load = |name: &String| model::load_to_serve(name, serving.clone(), self.models.len(), &self.trust);
        let models = self.models.iter().map(load).collect::<Result<Vec<Model>, Failure>>()?;
        let options = Options {
            address: self.address,
            port: self.port,
            api_keys: self.api_key,
            sampling: self.sampling.parameters(0),
            ..Options::default()
        };
        serve_until_interrupted(options, models, self.json.json)??;
        Ok(Answer::Done)
    }
}

/// Serves, says where, and returns after Ctrl-C. The inner error is the server's own: `quickstart`, which ends here too,
/// takes another port where one is in use.
pub fn serve_until_interrupted(
    options: Options,
    models: Vec<Model>,
    json: bool,
) -> Result<Result<(), ServeError>, Failure> {
    interrupt::listen("finishing the running answers")?;
    let names: Vec<String> = models.iter().map(|model| model.name().to_owned()).collect();
    let mut announced = Ok(());
    let served =
        tsumugi_serve::serve(options, models, |ready| announced = announce(ready, &names, json), interrupt::requested);
    match announced {
        // Whoever started us has gone, but not the clients.
        Err(Failure::BrokenPipe) | Ok(()) => Ok(served),
        Err(failure) => Err(failure),
    }
}

fn announce(ready: Ready, names: &[String], json: bool) -> Result<(), Failure> {
    if ready.open_to_network {
        tell("warning: other machines can reach this without a key; `--api-key KEY` asks for one");
    }
    let url = ready.url();
    if json {
        return print_json(&json!({"url": url, "models": names}));
    }
    print_line(&format!("serving {} at {url}  (the API: {url}v1, Ctrl-C ends it)", names.join(", ")))
}
