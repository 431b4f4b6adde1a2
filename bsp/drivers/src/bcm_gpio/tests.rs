use super::{BcmGpio, Function, Pin, Pull};
use crate::sim::{Device, Sim};

#[derive(Default)]
struct SimGpio {
    select: [u32; 6],
    pull: [u32; 4],
    level: [u32; 2],
}

impl Device for SimGpio {
    const SIZE: usize = 0xf4;

    fn read(&mut self, offset: usize) -> u32 {
        match offset {
            0x00..0x18 => self.select[offset / 4],
            0x34..0x3c => self.level[(offset - 0x34) / 4],
            0xe4..0xf4 => self.pull[(offset - 0xe4) / 4],
            _ => panic!("the driver has no business reading {offset:#x}"),
        }
    }
    fn write(&mut self, offset: usize, value: u32) {
        match offset {
            0x00..0x18 => self.select[offset / 4] = value,
            0x1c..0x24 => self.level[(offset - 0x1c) / 4] |= value,
            0x28..0x30 => self.level[(offset - 0x28) / 4] &= !value,
            0xe4..0xf4 => self.pull[(offset - 0xe4) / 4] = value,
            _ => panic!("the driver has no business writing {value:#x} to {offset:#x}"),
        }
    }
}

fn pin(number: u8) -> Pin {
    Pin::new(number).unwrap()
}

#[test]
fn the_uart_gets_its_pins() {
    let sim = Sim::new(SimGpio::default());
    let gpio = BcmGpio::new(&sim);
    for number in [14, 15] {
        gpio.set_function(pin(number), Function::Alt0);
        gpio.set_pull(pin(number), Pull::None);
    }
    gpio.set_pull(pin(15), Pull::Up);
    assert_eq!(sim.device().select, [0, 0b100_100 << 12, 0, 0, 0, 0]);
    assert_eq!(sim.device().pull, [1 << 30, 0, 0, 0]);
}

#[test]
fn a_change_leaves_the_other_pins() {
    let sim = Sim::new(SimGpio {
        select: [u32::MAX >> 2; 6],
        pull: [0x5555_5555; 4],
        ..SimGpio::default()
    });
    let gpio = BcmGpio::new(&sim);
    gpio.set_function(pin(29), Function::Input);
    gpio.set_pull(pin(16), Pull::Down);
    assert_eq!(sim.device().select[2], u32::MAX >> 5);
    assert_eq!(sim.device().pull[1], 0x5555_5556);
}

#[test]
fn functions_read_back() {
    let sim = Sim::new(SimGpio::default());
    let gpio = BcmGpio::new(&sim);
    for function in Function::ALL {
        gpio.set_function(pin(57), function);
        assert_eq!(gpio.function(pin(57)), function);
    }
}

#[test]
fn levels_of_the_first_and_last_pin() {
    let sim = Sim::new(SimGpio::default());
    let gpio = BcmGpio::new(&sim);
    for number in [0, 31, 32, 57] {
        gpio.set_level(pin(number), true);
        assert!(gpio.is_high(pin(number)));
    }
    assert_eq!(sim.device().level, [0x8000_0001, 0x0200_0001]);
    gpio.set_level(pin(32), false);
    assert!(!gpio.is_high(pin(32)));
    assert_eq!(sim.device().level, [0x8000_0001, 0x0200_0000]);
}

#[test]
fn there_are_58_pins() {
    assert!(Pin::new(58).is_none());
    assert!(Pin::new(255).is_none());
    assert_eq!(std::format!("{}", pin(42)), "GPIO42");
}
