// ema_cross.py in Rust: the same arithmetic in the same order. No dependencies; a panic aborts.
#[path = "../include/agent_abi.rs"]
mod agent_abi;

use agent_abi::{Event, Order, Params, Strategy, BOOK, BUY, SELL};
use core::ffi::c_void;

const SYMBOLS: usize = 256;

#[repr(C)]
struct Averages {
    fast: f64,
    slow: f64,
    seen: i64,
    above: i64,
}

#[repr(C)]
struct State {
    alpha_fast: f64,
    alpha_slow: f64,
    warm_up: i64,
    size: i64,
    of: [Averages; SYMBOLS],
}

unsafe extern "C" fn init(state: *mut c_void, params: *const Params) -> i32 {
    let (state, params) = (&mut *(state as *mut State), &*params);
    if !((1.0..=1e9).contains(&params.fast) && (1.0..=1e9).contains(&params.slow)) {
        return -1;
    }
    state.alpha_fast = 2.0 / (params.fast + 1.0);
    state.alpha_slow = 2.0 / (params.slow + 1.0);
    state.warm_up = params.slow as i64;
    state.size = params.size;
    0
}

unsafe extern "C" fn on_event(state: *mut c_void, event: *const Event, orders: *mut Order) -> i32 {
    let (state, event) = (&mut *(state as *mut State), &*event);
    if event.kind & BOOK == 0 || event.bid == 0 || event.ask == 0 {
        return 0;
    }
    let Some(own) = state.of.get_mut(event.symbol as usize) else { return 0 };
    let mid = (event.bid as f64 + event.ask as f64) * (0.5 * 1e-8);
    if own.seen == 0 {
        own.fast = mid;
        own.slow = mid;
    }
    own.fast += state.alpha_fast * (mid - own.fast);
    own.slow += state.alpha_slow * (mid - own.slow);
    own.seen += 1;
    let before = own.above;
    if own.fast > own.slow {
        own.above = 1;
    } else if own.fast < own.slow {
        own.above = -1;
    }
    if own.above == before || before == 0 || own.seen <= state.warm_up {
        return 0;
    }
    let (side, price) = if own.above > 0 { (BUY, event.ask) } else { (SELL, event.bid) };
    *orders = Order {
        price: price as f64 * 1e-8, size: state.size, id: 0, tag: 0, side, symbol: event.symbol, action: 0, reserved: 0,
    };
    1
}

#[no_mangle]
pub static agent_strategy: Strategy = Strategy::of::<State>(init, on_event);
