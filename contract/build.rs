//! Compiles the protos: Rust types and services, the descriptor set, and the OpenAPI document of the JSON face.

#[path = "build/openapi.rs"]
mod openapi;

use std::path::{Path, PathBuf};

fn main() {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=build");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let mut files = Vec::new();
    protos(Path::new("proto"), &mut files);
    files.sort();

    let mut compiler = protox::Compiler::new(["proto"]).expect("the proto folder exists");
    compiler.include_source_info(true).include_imports(true);
    if let Err(err) = compiler.open_files(&files) {
        eprintln!("{err:?}");
        std::process::exit(1);
    }
    let descriptor_set = out.join("descriptor_set.bin");
    std::fs::write(&descriptor_set, compiler.encode_file_descriptor_set()).expect("OUT_DIR is writable");

    let names: Vec<PathBuf> =
        files.iter().map(|f| f.strip_prefix("proto").expect("found below proto").to_path_buf()).collect();
    connectrpc_build::Config::new()
        .descriptor_set(&descriptor_set)
        .files(&names)
        .include_file("_connectrpc.rs")
        // It would name the descriptor set, which is newer than this run: everything would be rebuilt each time.
        .emit_rerun_directives(false)
        .compile()
        .expect("protos that protox accepts generate");

    let document = openapi::document(&compiler.descriptor_pool());
    std::fs::write(out.join("openapi.json"), serde_json::to_vec_pretty(&document).expect("plain JSON"))
        .expect("OUT_DIR is writable");
}

fn protos(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).expect("proto folder is readable") {
        let path = entry.expect("proto folder is readable").path();
        if path.is_dir() {
            protos(&path, found);
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
}
