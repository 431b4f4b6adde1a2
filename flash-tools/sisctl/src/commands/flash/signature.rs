//! Whose an image is: the manifest beside it, its signature, and the block map that both vouch for.

use crate::failure::{Exit, Failure, OrFail, Outcome};
use sis_bundle::sign;
use sis_image::card::record::CardManifest;
use sis_image::manifest::sha256_hex;
use std::path::{Path, PathBuf};

/// No manifest is longer.
const MANIFEST_BYTES_MAX: u64 = 1 << 20;

/// Checks that the manifest beside `image` is signed by the key in the file `key`, and names this block map. What is written is
/// then checked against the map.
pub(super) fn check(image: &Path, map: &Path, key: &Path) -> Outcome<CardManifest> {
    let read = |path: &Path| -> Outcome<Vec<u8>> {
        let failed =
            |error: std::io::Error| Failure::new("flash.signature", format_args!("{}: {error}", path.display()));
        if std::fs::metadata(path).map_err(failed)?.len() > MANIFEST_BYTES_MAX {
            return Err(Failure::new(
                "flash.signature",
                format_args!("{} is too long", path.display()),
            ));
        }
        std::fs::read(path).map_err(failed)
    };
    let beside = manifest_of(image);
    let text = read(&beside)?;
    let signature = read(&beside.with_extension("json.sig"))?;
    let public = String::from_utf8_lossy(&read(key)?).into_owned();
    let refused = |what: &dyn std::fmt::Display| Failure::new("flash.signature", what).exit(Exit::Failed);
    sign::verify(&public, &text, &signature)
        .map_err(|error| refused(&format_args!("{} by {}: {error}", beside.display(), key.display())))?;
    let manifest: CardManifest = serde_json::from_slice(&text).or_fail("flash.signature")?;
    let map_sha256 = sha256_hex(&read(map)?);
    if manifest.bmap.sha256 != map_sha256 {
        return Err(refused(&format_args!(
            "{} is not the block map that {} is signed for",
            map.display(),
            beside.display()
        )));
    }
    Ok(manifest)
}

/// `card.json` for `card.img`, `card.img.xz` and `card.img.zst`.
fn manifest_of(image: &Path) -> PathBuf {
    let mut path = image.to_path_buf();
    if path
        .extension()
        .is_some_and(|extension| extension == "xz" || extension == "zst")
    {
        path.set_extension("");
    }
    path.with_extension("json")
}

#[cfg(test)]
mod tests {
    use super::manifest_of;
    use std::path::Path;

    #[test]
    fn the_manifest_is_beside_the_image_packed_or_not() {
        for image in ["a/card.img", "a/card.img.xz", "a/card.img.zst"] {
            assert_eq!(manifest_of(Path::new(image)), Path::new("a/card.json"));
        }
    }
}
