//! Prints the steps of a worker up to a number, for looking into a loss:
//! `cargo run -p sis-workload --example plan -- SEED WORKER LAST [TEXT]` shows those whose operation contains TEXT.

use sis_workload::Plan;

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize| words.get(at).and_then(|word| word.parse::<u64>().ok());
    let (Some(seed), Some(worker), Some(last)) = (number(0), number(1), number(2)) else {
        eprintln!("usage: plan SEED WORKER LAST [TEXT]");
        std::process::exit(2);
    };
    let text = words.get(3).map_or("", String::as_str);
    let mut plan = Plan::new(seed, worker as u32);
    loop {
        for step in plan.next_group() {
            if step.number > last {
                return;
            }
            let line = format!("{:?}", step.op).replace("--", "");
            if line.contains(text) {
                println!("{} {line}", step.number);
            }
        }
        if text.is_empty() {
            println!();
        }
    }
}
