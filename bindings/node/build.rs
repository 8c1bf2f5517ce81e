//! Configures the linker: the functions of Node-API come from the Node.js process at run time.

fn main() {
    napi_build::setup();
}
