//! The data partition: what outlives the systems of a card. Where the disk that the root is on has a partition named
//! `data`, it is mounted on `/data`.

use std::fs;

use rustix::mount::{MountFlags, mount};
use sis_update::card::{Places, partitions, root_device};

/// Its name in the partition table.
const NAME: &str = "data";
const AT: &str = "/data";

/// Whether it is mounted, and what there is to say, a sentence; `None` where there is none. Nothing here is fatal.
pub(crate) fn mount_data() -> Option<Result<String, String>> {
    let places = Places::default();
    let table = fs::read_to_string(&places.mounts).ok()?;
    let source = partitions(&places, root_device(&table)?).remove(NAME)?;
    if let Err(error) = fs::create_dir_all(AT) {
        return Some(Err(format!("cannot make {AT}: {error}")));
    }
    let flags = MountFlags::NOSUID | MountFlags::NODEV;
    let source = source.display();
    Some(match mount(source.to_string().as_str(), AT, "ext4", flags, None) {
        Ok(()) => Ok(format!("{source} is mounted on {AT}")),
        Err(error) => Err(format!("cannot mount {source} on {AT}: {error}")),
    })
}
