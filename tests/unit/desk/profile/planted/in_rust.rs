// Five functions in Rust, of which a test makes one hot: two are called by name, three by one that is.

#[no_mangle]
pub extern "C" fn add_quotes(n: i64) -> f64 {
    let mut total = 1.0f64;
    for i in 0..n {
        total = total * 0.999 + i as f64;
    }
    total
}

#[no_mangle]
pub extern "C" fn divide_lots(n: i64) -> f64 {
    let mut total = 0.0f64;
    for i in 0..n {
        total = 1.0 / (1.0 + total) + (i & 3) as f64;
    }
    total
}

mod inside {
    #[inline(never)]
    pub fn shift_bits(n: i64) -> f64 {
        let mut x = 88172645463325252u64;
        for _ in 0..n {
            x ^= x << 13;
            x ^= x >> 7;
            x ^= x << 17;
        }
        (x & 1023) as f64
    }

    pub struct Ledger {
        pub cells: [f64; 64],
    }

    impl Ledger {
        #[inline(never)]
        pub fn post_entries(&mut self, n: i64) -> f64 {
            for i in 0..n as usize {
                self.cells[i & 63] = self.cells[(i + 7) & 63] * 0.5 + i as f64;
            }
            self.cells[0]
        }
    }

    #[inline(never)]
    pub fn cross_means(n: i64) -> f64 {
        let (mut fast, mut slow, mut crossed) = (0.0f64, 0.0f64, 0.0f64);
        for i in 0..n {
            let at = (i & 7) as f64;
            fast += 0.2 * (at - fast);
            slow += 0.05 * (at - slow);
            if fast > slow {
                crossed += 1.0;
            }
        }
        crossed
    }
}

#[no_mangle]
pub extern "C" fn run_inside(which: i64, n: i64) -> f64 {
    match which {
        0 => inside::shift_bits(n),
        1 => inside::Ledger { cells: [0.0; 64] }.post_entries(n),
        _ => inside::cross_means(n),
    }
}
