//! Disks of a machine.

/// A disk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "a disk is nothing before a machine has it"]
pub struct Drive {
    file: String,
    format: String,
    drive_options: Vec<String>,
    device_options: Vec<String>,
}

impl Drive {
    /// A file (an absolute path, as QEMU runs in a folder of its own), or another source as QEMU writes it
    /// (`blkdebug:/rules:/image`): its bytes are the disk's.
    pub fn raw(file: impl Into<String>) -> Self {
        Self {
            file: file.into(),
            format: "raw".into(),
            drive_options: Vec::new(),
            device_options: Vec::new(),
        }
    }

    /// The file, as it was named.
    #[must_use]
    pub fn file(&self) -> &str {
        &self.file
    }

    /// The file is of another format, such as `qcow2`.
    pub fn format(mut self, format: &str) -> Self {
        self.format = format.into();
        self
    }

    /// The disk's own identification, at most 20 characters.
    pub fn serial(self, serial: &str) -> Self {
        self.device_option(&format!("serial={serial}"))
    }

    /// This many queues.
    pub fn queues(self, queues: u32) -> Self {
        self.device_option(&format!("num-queues={queues}"))
    }

    /// Writes are refused.
    pub fn read_only(self) -> Self {
        self.drive_option("read-only=on")
    }

    /// Another option of `-drive`, such as `cache=unsafe`.
    pub fn drive_option(mut self, option: &str) -> Self {
        self.drive_options.push(option.into());
        self
    }

    /// Another option of the device, such as `logical_block_size=4096`.
    pub fn device_option(mut self, option: &str) -> Self {
        self.device_options.push(option.into());
        self
    }

    /// QEMU's arguments for it as `name` on a device of type `device`.
    pub(crate) fn arguments(&self, name: &str, device: &str) -> [String; 4] {
        // A comma in a value is doubled (QEMU's manual, -drive).
        let file = self.file.replace(',', ",,");
        let mut drive = format!("if=none,id={name},file={file},format={}", self.format);
        let mut device = format!("{device},drive={name}");
        for (line, options) in [(&mut drive, &self.drive_options), (&mut device, &self.device_options)] {
            for option in options {
                line.push(',');
                line.push_str(option);
            }
        }
        ["-drive".into(), drive, "-device".into(), device]
    }
}
