// include/agent_strategy.h for Rust, and the layout hash of what is declared here. A strategy says
// `mod agent_abi;` and exports a `static agent_strategy: Strategy`.
#![allow(dead_code)]

use core::ffi::c_void;
use core::mem::{offset_of, size_of};

pub const ABI: u32 = 3;
pub const MAX_ORDERS: usize = 8;
pub const SYMBOLS: usize = 256;
pub const BOOK: u32 = 1;
pub const TRADE: u32 = 2;
pub const STATE: u32 = 4;
pub const UNTOLD: u32 = 0;
pub const UNKNOWN: u32 = 1;
pub const TRADING: u32 = 2;
pub const QUOTING: u32 = 3;
pub const PAUSED: u32 = 4;
pub const HALTED: u32 = 5;
pub const HALTED_HERE: u32 = 6;
pub const CLOSED: u32 = 2;
pub const PRE_MARKET: u32 = 3;
pub const OPEN: u32 = 4;
pub const POST_MARKET: u32 = 5;
pub const ENDED: u32 = 6;
pub const SHORT_UNTOLD: u32 = 0;
pub const SHORT_FREE: u32 = 1;
pub const SHORT_RESTRICTED: u32 = 2;
pub const BUY: i32 = 1;
pub const SELL: i32 = -1;

macro_rules! c_type {
    (f64) => { "double" };
    (i64) => { "int64_t" };
    (u64) => { "uint64_t" };
    (i32) => { "int32_t" };
    (u32) => { "uint32_t" };
    (Name) => { "agent_name" };
}

const fn text(mut hash: u64, text: &str) -> u64 {
    let bytes = text.as_bytes();
    let mut i = 0;
    while i < bytes.len() {
        hash = (hash ^ bytes[i] as u64).wrapping_mul(0x100000001b3);
        i += 1;
    }
    hash
}

const fn number(mut hash: u64, number: u64) -> u64 {
    let mut power = 1;
    while number / power >= 10 {
        power *= 10;
    }
    while power > 0 {
        hash = (hash ^ (b'0' as u64 + number / power % 10)).wrapping_mul(0x100000001b3);
        power /= 10;
    }
    hash
}

const fn member(hash: u64, name: &str, kind: &str, offset: usize, count: u64) -> u64 {
    let hash = text(text(text(hash, name), " "), kind);
    let hash = number(text(hash, " "), offset as u64);
    text(number(text(hash, " "), count), "\n")
}

macro_rules! structure {
    ($name:ident, $c_name:literal, $hash:ident, { $($member:ident : $kind:ident),* $(,)? }
     $({ $array:ident : [$item:ident; $count:literal] })*) => {
        #[repr(C)]
        #[derive(Clone, Copy)]
        pub struct $name { $(pub $member: $kind,)* $(pub $array: [$item; $count],)* }

        const fn $hash(hash: u64) -> u64 {
            let hash = text(number(text(text(hash, $c_name), " "), size_of::<$name>() as u64), "\n");
            $(let hash = member(hash, stringify!($member), c_type!($kind), offset_of!($name, $member), 1);)*
            $(let hash = member(hash, stringify!($array), c_type!($item), offset_of!($name, $array), $count);)*
            hash
        }
    };
}

structure!(Event, "agent_event", hash_event, {
    sequence: u64, received_ns: i64, exchange_ns: i64, exchange_id: i64, bid: i64, bid_size: i64, ask: i64,
    ask_size: i64, price: i64, size: i64, kind: u32, symbol: u32, collar_low: i64, collar_high: i64, state: u32,
    market: u32, short_sale: u32, auction: u32, breached: u32, day: u32,
});
structure!(Order, "agent_order", hash_order, {
    price: f64, size: i64, id: u64, tag: u64, side: i32, symbol: u32, action: u32, reserved: u32,
});
structure!(Fill, "agent_fill", hash_fill, {
    id: u64, tag: u64, received_ns: i64, size: i64, leaves: i64, position: i64, price: f64, side: i32, symbol: u32,
    kind: u32, reason: u32,
});
structure!(Params, "agent_params", hash_params, { fast: f64, slow: f64, size: i64, symbols: u64 } { values: [f64; 8] }
    { names: [Name; 256] });

/// A symbol's name: at most 20 bytes, zeros behind them.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Name { pub text: [u8; 24] }

impl Params {
    /// The index of the symbol with this name, or None.
    pub fn find(&self, name: &str) -> Option<u32> {
        (0..self.symbols as usize).find(|&i| {
            let text = &self.names[i].text;
            text.len() > name.len() && &text[..name.len()] == name.as_bytes() && text[name.len()] == 0
        }).map(|i| i as u32)
    }
}

pub const LAYOUT: u64 = hash_params(hash_fill(hash_order(hash_event(0xcbf29ce484222325))));

#[repr(C)]
pub struct Strategy {
    pub abi: u32,
    pub size: u32,
    pub layout: u64,
    pub state_size: u64,
    pub init: Option<unsafe extern "C" fn(*mut c_void, *const Params) -> i32>,
    pub on_event: Option<unsafe extern "C" fn(*mut c_void, *const Event, *mut Order) -> i32>,
    pub on_fill: Option<unsafe extern "C" fn(*mut c_void, *const Fill, *mut Order) -> i32>,
    pub on_timer: Option<unsafe extern "C" fn(*mut c_void, i64, *mut Order) -> i32>,
    pub fini: Option<unsafe extern "C" fn(*mut c_void)>,
}

impl Strategy {
    /// A table for a state of type S; what is None does nothing.
    pub const fn of<S>(
        init: unsafe extern "C" fn(*mut c_void, *const Params) -> i32,
        on_event: unsafe extern "C" fn(*mut c_void, *const Event, *mut Order) -> i32,
    ) -> Strategy {
        Strategy {
            abi: ABI, size: size_of::<Strategy>() as u32, layout: LAYOUT, state_size: size_of::<S>() as u64,
            init: Some(init), on_event: Some(on_event), on_fill: None, on_timer: None, fini: None,
        }
    }
}
