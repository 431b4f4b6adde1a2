use super::*;

#[test]
fn cpu_lines_are_parsed() {
    let mut metrics = Metrics::default();
    stat(
        "cpu  1 2 3 4 5 6 7 0 0 0\ncpu0 10 1 20 300 4 5 6 0 0 0\ncpu1 1 0 2 3 0 0 0 0 0 0\nintr 99 1 2\nctxt 77\n",
        &mut metrics,
    );
    assert_eq!(metrics.cpus.len(), 2);
    let expected = CpuTimes {
        user_ns: 110_000_000,
        system_ns: 200_000_000,
        idle_ns: 3_040_000_000,
        irq_ns: 110_000_000,
    };
    assert_eq!(metrics.cpus[0], expected);
    assert_eq!((metrics.interrupts, metrics.context_switches), (Some(99), Some(77)));
}

#[test]
fn memory_load_and_faults_are_parsed() {
    let mut metrics = Metrics::default();
    meminfo(
        "MemTotal:  100 kB\nMemFree: 40 kB\nSwapCached: 9 kB\nCached: 30 kB\nSlab: 5 kB\nKernelStack: 1 kB\n",
        &mut metrics,
    );
    assert_eq!(metrics.mem_total_bytes, Some(102_400));
    assert_eq!(metrics.mem_cached_bytes, Some(30_720));
    assert_eq!(metrics.mem_kernel_bytes, Some(6 * 1024));
    loadavg("0.07 12.50 1.00 2/345 6789", &mut metrics);
    assert_eq!(
        (metrics.load1_milli, metrics.load5_milli, metrics.threads),
        (Some(70), Some(12_500), Some(345))
    );
    vmstat("pgfault 100\npgmajfault 3\n", &mut metrics);
    assert_eq!((metrics.faults_minor, metrics.faults_major), (Some(97), Some(3)));
}

#[test]
fn interfaces_and_disks_are_summed() {
    let net = net_dev(
        "Inter-|   Receive\n face |bytes packets\n    lo: 9 9 9 9 0 0 0 0 9 9 9 9 0 0 0 0\n  eth0: 100 2 0 1 0 0 0 0 200 4 0 0 0 0 0 0\n eth1:1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0\n",
    )
    .unwrap();
    assert_eq!(
        (net.rx_bytes, net.rx_packets, net.rx_drops, net.tx_bytes),
        (101, 3, 1, 201)
    );
    assert_eq!(net_dev("lo: 1 1 0 0 0 0 0 0 1 1 0 0 0 0 0 0"), None);
    let disk =
        diskstats("8 0 sda 10 0 8 0 20 0 16 0 0 0 0\n8 1 sda1 10 0 8 0 20 0 16 0 0 0 0\n7 0 loop0 1 1 1 1 1 1 1 1\n")
            .unwrap();
    assert_eq!((disk.reads, disk.read_bytes, disk.write_bytes), (10, 4096, 8192));
    assert!(is_whole_disk("nvme0n1") && is_whole_disk("mmcblk0") && !is_whole_disk("mmcblk0p1"));
}

#[test]
fn what_is_not_there_is_absent() {
    let mut metrics = Metrics::default();
    stat("", &mut metrics);
    meminfo("", &mut metrics);
    loadavg("x", &mut metrics);
    vmstat("", &mut metrics);
    assert_eq!(metrics, Metrics::default());
}

#[test]
fn this_host_is_measured() {
    let metrics = snapshot();
    assert!(!metrics.cpus.is_empty());
    assert!(metrics.mem_total_bytes.unwrap() > metrics.mem_free_bytes.unwrap());
    assert!(metrics.processes.unwrap() > 0);
}
