//! Tells the linker that Node.js brings the functions of its interface.

fn main() {
    napi_build::setup();
}
