use super::*;
use std::path::Path;

fn board(name: &str) -> Board {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace");
    Board::load(root, name).expect("the board's file is sound")
}

fn files() -> Files {
    Files {
        kernel: "/k".into(),
        initrd: Some("/i".into()),
        device_tree: None,
        loader: None,
    }
}

fn line(board: &Board, options: &Options) -> String {
    format!("{} ", board.command(&files(), options).expect("is possible").join(" "))
}

#[test]
fn virt_boots_as_the_boot_contract_says() {
    let line = line(&board("qemu-virt"), &Options::default());
    for part in [
        "-machine virt,gic-version=3 ",
        "-cpu cortex-a72 ",
        "-smp 4 ",
        "-m 512M ",
        "-kernel /k ",
        "-initrd /i ",
        "-append console=ttyAMA0 ",
        "-global virtio-mmio.force-legacy=false ",
        "-netdev user,id=net0 -device virtio-net-device,netdev=net0 ",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn the_first_disk_is_the_last_on_the_line() {
    let options = Options {
        drives: vec![
            Drive::raw("/a,b").serial("ONE").queues(4),
            Drive::raw("/c").format("qcow2").read_only(),
        ],
        ..Options::default()
    };
    let line = line(&board("qemu-virt"), &options);
    let part = "-drive if=none,id=disk1,file=/c,format=qcow2,read-only=on -device virtio-blk-device,drive=disk1 \
                -drive if=none,id=disk0,file=/a,,b,format=raw -device virtio-blk-device,drive=disk0,serial=ONE,num-queues=4 ";
    assert!(line.contains(part), "{line}");
    let refused = board("rpi4").command(&files(), &options);
    assert_eq!(refused, Err(CommandError::NoDisks("rpi4".into())));
}

#[test]
fn wishes_replace_defaults() {
    let options = Options {
        smp: Some(1),
        memory: Some("128M".into()),
        gic: Some(2),
        cpu: Some("max".into()),
        virtualization: Some(true),
        append: Some("quiet".into()),
        append_more: vec!["panic=-1".into()],
        agent_port: Some(40000),
        no_reboot: true,
        ..Options::default()
    };
    let line = line(&board("qemu-virt"), &options);
    for part in [
        "-machine virt,gic-version=2,virtualization=on ",
        "-cpu max ",
        "-smp 1 ",
        "-m 128M ",
        "-append quiet panic=-1 ",
        "hostfwd=udp:127.0.0.1:40000-:8870 ",
        "-no-reboot ",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}

#[test]
fn the_pi_takes_its_device_tree_and_refuses_what_its_machine_fixes() {
    let pi = board("rpi4");
    let files = Files {
        device_tree: Some("/dtb".into()),
        loader: None,
        ..files()
    };
    let line = pi.command(&files, &Options::default()).expect("is possible").join(" ");
    assert!(
        line.contains("-machine raspi4b -kernel /k -initrd /i -dtb /dtb -append console=ttyAMA0 "),
        "{line}"
    );
    assert!(!line.contains("-smp"), "{line}");
    // Its network is an adapter at the USB port.
    assert!(line.contains("-device usb-net,netdev=net0"), "{line}");
    let fixed = pi.command(
        &files,
        &Options {
            smp: Some(2),
            ..Options::default()
        },
    );
    assert!(matches!(fixed, Err(CommandError::Fixed { option: "--smp", .. })));
}

#[test]
fn without_a_network_card_nothing_is_forwarded() {
    let options = Options {
        agent_port: Some(1),
        no_network: true,
        ..Options::default()
    };
    assert_eq!(
        board("rpi4").command(&files(), &options),
        Err(CommandError::NoNetwork("rpi4".into()))
    );
}

#[test]
fn nonsense_is_refused_before_qemu_is_asked() {
    let virt = board("qemu-virt");
    assert!(
        virt.command(
            &files(),
            &Options {
                smp: Some(0),
                ..Options::default()
            }
        )
        .is_err()
    );
    assert!(
        virt.command(
            &files(),
            &Options {
                smp: Some(9),
                ..Options::default()
            }
        )
        .is_err()
    );
    assert!(
        virt.command(
            &files(),
            &Options {
                gic: Some(1),
                ..Options::default()
            }
        )
        .is_err()
    );
}

#[test]
fn an_unknown_board_names_the_known_ones() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .expect("the workspace");
    for name in ["nope", "../kernel", ""] {
        let error = Board::load(root, name).expect_err("is refused").to_string();
        assert!(error.contains("qemu-virt, rpi4"), "{error}");
    }
}

#[test]
fn a_card_is_started_by_the_loader_or_by_who_plays_the_firmware() {
    let card = Some(Drive::raw("/card"));
    let virt = board("qemu-virt");
    let with_loader = Files {
        loader: Some("/loader".into()),
        ..files()
    };
    let options = Options {
        card: card.clone(),
        drives: vec![Drive::raw("/disk")],
        ..Options::default()
    };
    let line = virt.command(&with_loader, &options).expect("is possible").join(" ");
    assert!(
        line.contains("-bios /loader ") && !line.contains("-kernel") && !line.contains("-append"),
        "{line}"
    );
    // The last on the line is vda.
    let (disk, card_at) = (line.find("file=/disk"), line.find("file=/card"));
    assert!(disk.is_some() && disk < card_at, "{line}");

    let options = Options {
        card,
        plays_firmware: true,
        ..Options::default()
    };
    let line = board("rpi4")
        .command(&files(), &options)
        .expect("is possible")
        .join(" ");
    for part in [
        "-device sd-card,bus=/generic-sdhci/sd-bus,drive=card",
        "-no-reboot",
        "-qmp unix:events.sock,server=on,wait=off",
    ] {
        assert!(line.contains(part), "{part} is not in {line}");
    }
}
