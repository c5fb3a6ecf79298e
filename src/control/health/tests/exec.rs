//! The `exec` check with real programs, some of which do not want to end.

use std::time::Duration;

use super::*;

fn shell(script: &str) -> HealthCheck {
    HealthCheck::Exec(vec!["/bin/sh".into(), "-c".into(), script.into(), "sh".into(), "an argument".into()])
}

async fn exec(script: &str) -> Outcome {
    let mut target = target_of(shell(script), "10.0.0.9:8080".parse().unwrap());
    target.health.timeout = Duration::from_secs(10);
    check_of(target).run().await
}

/// Whether the process whose number is in `file` is there and no zombie.
fn is_alive(file: &std::path::Path) -> bool {
    let number = std::fs::read_to_string(file).unwrap();
    std::fs::read_to_string(format!("/proc/{}/stat", number.trim())).is_ok_and(|stat| !stat.contains(") Z "))
}

/// Waits for what is to be so within seconds.
async fn eventually(what: impl Fn() -> bool) {
    for _ in 0..500 {
        if what() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 5 s");
}

#[tokio::test]
async fn the_exit_status_decides_and_the_output_is_the_reason() {
    assert_eq!(exec("exit 0").await, good("exit status 0"));
    assert_eq!(exec("echo; echo ' fine '; echo more").await, good("exit status 0: fine"));
    assert_eq!(exec("exit 7").await, failed("exit status 7"));
    assert_eq!(exec("echo out; echo 'disk\tfull' >&2; exit 2").await, failed("exit status 2: disk full"));
    assert_eq!(exec("kill -9 $$").await, failed("ended by signal 9"));
    // Far more than a pipe holds.
    let Outcome::Failed(reason) = exec("yes x | head -c 1000000 | tr -d '\\n'; exit 3").await else { panic!("3") };
    assert_eq!(reason, format!("exit status 3: {}", "x".repeat(120)));
}

#[tokio::test]
async fn a_program_knows_the_backend_and_nothing_of_our_environment() {
    let said = exec("echo $TIDEGATE_SERVICE/$TIDEGATE_BACKEND $TIDEGATE_ADDRESS $TIDEGATE_PORT $1").await;
    assert_eq!(said, good("exit status 0: web/b1 10.0.0.9 8080 an argument"));
    let names = exec("env | grep -v -e ^TIDEGATE_ -e ^PATH= -e ^PWD= -e ^SHLVL= -e ^_= -e ^OLDPWD=; exit 0").await;
    assert_eq!(names, good("exit status 0"), "CARGO and HOME are ours");
}

#[tokio::test]
async fn what_hangs_is_ended_with_all_that_it_has_started() {
    let directory = tempfile::tempdir().unwrap();
    let (child, parent) = (directory.path().join("child"), directory.path().join("parent"));
    let script =
        format!("trap '' TERM; sleep 60 & echo $! > {}; echo $$ > {}; wait", child.display(), parent.display());
    let started = Instant::now();
    let mut target = target_of(shell(&script), refusing());
    target.health.timeout = Duration::from_millis(1500);
    let outcome = check_of(target).run().await;
    assert_eq!(outcome, failed("timed out after 1500 ms: the command did not end"));
    assert!(started.elapsed() < Duration::from_secs(4), "{:?}", started.elapsed());
    // Reaped when the check ends, and not some time later.
    let number = std::fs::read_to_string(&parent).unwrap();
    assert!(!std::path::Path::new(&format!("/proc/{}", number.trim())).exists());
    eventually(|| !is_alive(&child)).await;
}

#[tokio::test]
async fn what_is_left_holding_the_pipe_does_not_hold_up_the_check() {
    let started = Instant::now();
    assert_eq!(exec("sleep 3 & echo fine").await, good("exit status 0: fine"));
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_check_that_is_given_up_leaves_nobody_behind() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("process");
    let mut target = target_of(shell(&format!("echo $$ > {}; exec sleep 60", file.display())), refusing());
    target.health.timeout = Duration::from_secs(60);
    let check = tokio::spawn(async move { check_of(target).run().await });
    eventually(|| std::fs::read_to_string(&file).is_ok_and(|number| number.ends_with('\n'))).await;
    assert!(is_alive(&file));
    check.abort();
    let number = std::fs::read_to_string(&file).unwrap();
    // Gone altogether: no zombie either.
    eventually(|| !std::path::Path::new(&format!("/proc/{}", number.trim())).exists()).await;
}

#[tokio::test]
async fn a_program_that_cannot_be_run_says_nothing_of_the_backend() {
    let missing = HealthCheck::Exec(vec!["/nowhere/check".into()]);
    let why = "/nowhere/check cannot be run: no such file or directory";
    assert_eq!(run(missing, refusing()).await, Outcome::NotRun(why.into()));
}

#[tokio::test]
async fn only_so_many_programs_run_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let script = "mkdir $0/$$; sleep 0.2; ls $0 | wc -l; rmdir $0/$$";
    let words = ["/bin/sh", "-c", script, &directory.path().display().to_string()].map(str::to_owned);
    let mut supervisor = Supervisor::default();
    for number in 0..100 {
        let mut target = target_of(HealthCheck::Exec(words.to_vec()), refusing());
        (target.health.timeout, target.health.interval) = (Duration::from_secs(20), Duration::from_millis(50));
        supervisor.start(key(&format!("b{number}")), target, None);
    }
    let (mut seen, mut most) = (0, 0);
    while seen < 100 {
        for change in next(&mut supervisor).await {
            seen += 1;
            let count = change.reason.strip_prefix("exit status 0: ").unwrap_or_else(|| panic!("{change:?}"));
            most = most.max(count.parse::<usize>().unwrap());
        }
    }
    assert!((8..=32).contains(&most), "{most} at once");
}
