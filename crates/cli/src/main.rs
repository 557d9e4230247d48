//! The `tsumugi` binary. Everything is in the library beside it, so that tests and the reference page see it too.

fn main() -> std::process::ExitCode {
    tsumugi_cli::main()
}
