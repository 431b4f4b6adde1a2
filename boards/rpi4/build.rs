//! Hands the board's link script to the linker.

fn main() {
    let here = std::env::var("CARGO_MANIFEST_DIR").unwrap_or_default();
    if std::env::var("CARGO_CFG_TARGET_OS").as_deref() == Ok("none") {
        println!("cargo:rustc-link-arg-bins=-T{here}/link.ld");
        println!("cargo:rustc-link-arg-bins=-L{here}/../../kernel/machine");
        println!("cargo:rustc-link-arg-bins=--build-id=sha1");
        println!("cargo:rustc-link-arg-bins=-zmax-page-size=4096");
        println!("cargo:rustc-link-arg-bins=-zcommon-page-size=4096");
    }
    println!("cargo:rerun-if-changed={here}/link.ld");
    println!("cargo:rerun-if-changed={here}/../../kernel/machine/sis-kernel.ld");
}
