//! Runs a recipe: `cargo run --release -p tsumugi-train --example pretrain -- RECIPE OUT SEED`.
#![allow(clippy::print_stdout, clippy::unwrap_used)]
use tsumugi_base::progress::{Event, Observer};
struct Print;
impl Observer for Print {
    fn event(&self, event: &Event) {
        match event {
            Event::Note { message } => println!("{message}"),
            Event::Step { done, details, rate_per_second, .. } if done % 50 == 0 => {
                println!("{done} {rate_per_second:.0} {details:?}")
            }
            _ => {}
        }
    }
}
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let mut recipe = tsumugi_train::Recipe::read(args[1].as_ref()).unwrap();
    recipe.seed = Some(args[3].parse().unwrap());
    let cpu = tsumugi_tensor::Cpu::detect(None).unwrap();
    println!("peak {:.0} GFLOP/s", tsumugi_train::peak::peak_flops_per_second(&cpu) / 1e9);
    let done =
        tsumugi_train::pretrain::run(&recipe, args[2].as_ref(), &cpu, args.clone(), &Print, &mut |_, _, _| {}).unwrap();
    println!("{done:?}");
}
