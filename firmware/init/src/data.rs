//! The data partition: what outlives the systems of a card. Where the disk that the root is on has a partition named
//! `data`, it is mounted on `/data`.

use std::fs;
use std::path::Path;

use rustix::mount::{MountFlags, mount, mount_bind};
use sis_update::card::{Places, partitions, root_device};

/// Its name in the partition table.
const NAME: &str = "data";
const AT: &str = "/data";
/// Root's home, and its place there.
const HOME: &str = "/root";
const HOME_DATA: &str = "/data/root";

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
        Ok(()) => bring_home().map(|()| format!("{source} is mounted on {AT}")),
        Err(error) => Err(format!("cannot mount {source} on {AT}: {error}")),
    })
}

/// Root's home is on the data partition where that has one: it outlives systems too.
fn bring_home() -> Result<(), String> {
    if !Path::new(HOME_DATA).is_dir() {
        return Ok(());
    }
    mount_bind(HOME_DATA, HOME).map_err(|error| format!("cannot bind {HOME_DATA} to {HOME}: {error}"))
}
