//! Runs test programs inside the lab VM and says how each test went.
//!
//! `quantix-lab-vm [--place PROGRAM]… [--only TEXT]… [--shown] TEST-PROGRAM…`
//!
//! Every program gets the same absolute path in the VM as it has here, so that a test finds its helpers where the
//! compiler said. Each test runs as a process of its own; one that does not end in time costs the VM, and the next
//! test gets a new one. Two VMs share the work, unless the output is shown as it comes. `./x lab` and `./x test lab`
//! build the programs and call this.

use quantix_lab::labvm::{LabVm, SHARE};
use std::collections::VecDeque;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// For what hangs, not for what is slow: emulated and beside another VM, the suite on LVM calls hundreds of programs, each of
/// which takes a second or two, and took 858 s on a slow machine.
const TEST_DEADLINE: Duration = Duration::from_secs(1800);
const COPY_DEADLINE: Duration = Duration::from_secs(60);
const OUTPUT: &str = "output";

#[derive(Default)]
struct Order {
    place: Vec<PathBuf>,
    tests: Vec<PathBuf>,
    only: Vec<String>,
    shown: bool,
}

/// A program and the name of one of its tests.
type Case<'a> = (&'a PathBuf, String);

struct Row {
    test: String,
    result: &'static str,
    took: Duration,
    output: String,
}

fn main() -> ExitCode {
    let order = read(std::env::args().skip(1));
    let first = equipped(&order);
    let queue: VecDeque<Case> = order
        .tests
        .iter()
        .flat_map(|program| tests(&first, program, &order.only).into_iter().map(move |test| (program, test)))
        .collect();
    // What is shown as it comes can be read only when one speaks.
    let beside = !order.shown && queue.len() > 1;
    let queue = Mutex::new(queue);
    let mut rows = std::thread::scope(|scope| {
        let other = beside.then(|| scope.spawn(|| work(&order, &queue, equipped(&order))));
        let mut rows = work(&order, &queue, first);
        if let Some(other) = other {
            rows.extend(other.join().expect("the second VM went through its tests"));
        }
        rows
    });
    rows.sort_by(|a, b| a.test.cmp(&b.test));
    if report(&rows, order.shown) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Runs tests from the queue in one VM after the other, until there are none.
fn work(order: &Order, queue: &Mutex<VecDeque<Case>>, mut vm: LabVm) -> Vec<Row> {
    let mut rows = Vec::new();
    let next = || queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
    while let Some((program, test)) = next() {
        let mut row = one(&vm, program, &test, order.shown);
        eprintln!("{:>6}  {:>6.1} s  {}", row.result, row.took.as_secs_f64(), row.test);
        if row.result != "passed" {
            // What it left behind must not fail the next one; and an emulated machine on a busy one misses
            // deadlines that mean nothing. The table tells who needed a second try.
            vm = equipped(order);
            let second = one(&vm, program, &test, order.shown);
            if second.result == "passed" {
                row.result = "AGAIN";
            } else {
                row.output += &format!("\nthe second try, {}:\n{}", second.result, second.output);
                vm = equipped(order);
            }
        }
        rows.push(row);
    }
    rows
}

fn read(mut words: impl Iterator<Item = String>) -> Order {
    let mut order = Order::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            "--place" => order.place.extend(words.next().map(PathBuf::from)),
            "--only" => order.only.extend(words.next()),
            "--shown" => order.shown = true,
            _ => order.tests.push(word.into()),
        }
    }
    order
}

/// A new VM with all programs in it.
fn equipped(order: &Order) -> LabVm {
    let vm = LabVm::start();
    for program in order.tests.iter().chain(&order.place) {
        let name = program.file_name().expect("programs have names");
        // Without what only a debugger reads it is a tenth of the size.
        let strip = Command::new("strip").arg("-o").arg(vm.share().join(name)).arg(program).status();
        assert!(strip.is_ok_and(|s| s.success()), "strip failed: apt-get install -y binutils");
        let shared = format!("{SHARE}/{}", name.to_string_lossy());
        let place = program.to_string_lossy().into_owned();
        let copied = vm.run(&["install", "-D", "-m", "755", &shared, &place], COPY_DEADLINE);
        assert!(copied.success(), "{place}: {copied:?}");
    }
    vm
}

fn tests(vm: &LabVm, program: &Path, only: &[String]) -> Vec<String> {
    let program = program.to_string_lossy();
    let list = vm.ok(&[program.as_ref(), "--list", "--format", "terse"]);
    let names = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let wanted = |name: &&str| only.is_empty() || only.iter().any(|text| name.contains(text.as_str()));
    names.filter(wanted).map(str::to_owned).collect()
}

/// `real_local-0123456789abcdef` is `real_local`.
fn short(program: &Path) -> String {
    let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
    name.rsplit_once('-').map_or(name.clone(), |(name, _)| name.to_owned())
}

fn one(vm: &LabVm, program: &Path, test: &str, shown: bool) -> Row {
    let file = vm.share().join(OUTPUT);
    std::fs::write(&file, "").expect("the share can be written");
    let name = format!("{}::{test}", short(program));
    if shown {
        eprintln!("\n── {name}");
    }
    // The agent hands out output at the end only, and none of a program that never ends. So it goes to a file.
    let line = format!("exec \"$@\" > {SHARE}/{OUTPUT} 2>&1");
    let program = program.to_string_lossy();
    let argv = ["sh", "-c", &line, "sh", program.as_ref(), "--exact", test, "--nocapture"];
    let env = ["RUST_BACKTRACE=1".to_owned()];
    let done = AtomicBool::new(false);
    let began = Instant::now();
    let output = std::thread::scope(|scope| {
        if shown {
            scope.spawn(|| follow(&file, &done));
        }
        let output = vm.run_with(&argv, &env, b"", TEST_DEADLINE);
        done.store(true, Ordering::Release);
        output
    });
    let result = match (output.late, output.success()) {
        (true, _) => "LATE",
        (false, true) => "passed",
        (false, false) => "FAILED",
    };
    let mut text = String::from_utf8_lossy(&std::fs::read(&file).unwrap_or_default()).into_owned();
    if result == "FAILED" {
        text += &format!("\nended with code {:?}, signal {:?}\n", output.code, output.signal);
    }
    if result != "passed" {
        let kernel = vm.run(&["dmesg", "--level", "err,warn"], COPY_DEADLINE).stdout;
        let last: Vec<&str> = kernel.lines().rev().take(10).collect();
        text += &format!("the guest's kernel, last words first:\n{}\n", last.join("\n"));
    }
    Row { test: name, result, took: began.elapsed(), output: text }
}

/// Passes on what is written into `file`, until `done`.
fn follow(file: &Path, done: &AtomicBool) {
    let (mut at, mut bytes) = (0, Vec::new());
    loop {
        let last = done.load(Ordering::Acquire);
        if let Ok(mut open) = std::fs::File::open(file) {
            let _ = open.seek(SeekFrom::Start(at));
            bytes.clear();
            at += open.read_to_end(&mut bytes).unwrap_or(0) as u64;
            let _ = std::io::stderr().write_all(&bytes);
        }
        if last {
            return;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

/// Where a test panicked, and the first lines of what it said.
fn panics(output: &str) -> impl Iterator<Item = &str> {
    const SAID: usize = 4;
    let mut left = 0;
    output.lines().filter(move |line| {
        left = if line.contains(" panicked at ") { SAID } else { left.saturating_sub(1) };
        left > 0
    })
}

/// The suites' own lines, the output of what failed unless it was shown, and a table. True when all passed.
fn report(rows: &[Row], shown: bool) -> bool {
    let failed = |row: &&Row| !matches!(row.result, "passed" | "AGAIN");
    if !shown {
        for row in rows.iter().filter(|row| row.result != "passed") {
            eprintln!("\n── {} {}\n{}", row.test, row.result, row.output);
        }
        eprintln!();
        let lines = rows.iter().flat_map(|row| row.output.lines());
        lines.filter(|line| line.starts_with("suite | ")).for_each(|line| eprintln!("{line}"));
    }
    let width = rows.iter().map(|row| row.test.len()).max().unwrap_or(0);
    eprintln!("\n  {:<width$}  result  seconds", "test in the lab VM");
    for row in rows {
        eprintln!("  {:<width$}  {:<6}  {:>7.1}", row.test, row.result, row.took.as_secs_f64());
        if row.result != "passed" {
            // Again, where a log that was cut still has it.
            panics(&row.output).for_each(|line| eprintln!("    {line}"));
        }
    }
    if rows.iter().any(|row| row.result == "AGAIN") {
        eprintln!("  AGAIN: failed, then passed in a new VM; its first output stands above");
    }
    if rows.is_empty() {
        eprintln!("  no test was found");
    }
    !rows.is_empty() && !rows.iter().any(|row| failed(&row))
}
