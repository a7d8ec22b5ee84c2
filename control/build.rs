//! Takes the built web app into the binary; without one, a page that says how to build it.

use std::path::PathBuf;

const PLACEHOLDER: &str = "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>Quantix</title>\n\
    <h1>Quantix-vDC</h1>\n<p>This binary was built without the web app. Build it with <code>./x up</code>, \
    or start with <code>--web-dir</code>.</p>\n</html>\n";

fn main() {
    let root = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let built = root.join("../web/dist");
    // Cargo builds a crate anew each time while what it watches is not there. Where the folder cannot be made, so be it.
    let _ = std::fs::create_dir(&built);
    println!("cargo:rerun-if-changed={}", built.display());
    let folder = if built.join("index.html").is_file() {
        built
    } else {
        let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets it")).join("web");
        std::fs::create_dir_all(&out).expect("OUT_DIR is writable");
        std::fs::write(out.join("index.html"), PLACEHOLDER).expect("OUT_DIR is writable");
        out
    };
    memory_serve::load_names_directories([("web", folder)], true);
}
