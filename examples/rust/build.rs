//! Generates the stubs. Cargo runs this again when a proto changes.

fn main() -> std::io::Result<()> {
    let protos = ["registry_service", "config_service"].map(|name| format!("../../proto/rollcall/v1/{name}.proto"));
    tonic_prost_build::configure().build_server(false).compile_protos(&protos, &["../../proto".to_owned()])
}
