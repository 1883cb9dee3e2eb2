//! The run page in a real browser: what it shows, that it follows, and that it runs nobody's code.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod support;

use support::Project;
use support::browser::Browser;
use support::served::Served;

/// The first attempt fails, the second says what it does; then a person is asked.
const FLOW: &str = "name: ship\nsteps:\n\
    \x20 - {id: build, node: t.build}\n\
    \x20 - {id: confirm, wait: {approval: Ship it?}, needs: build}\n\
    \x20 - {id: deliver, node: t.deliver, needs: confirm}\n";

fn project() -> Project {
    let project = Project::new();
    project.write("flows/ship.yaml", FLOW);
    project.write(
        "flows/broken.yaml",
        "name: broken\nsteps:\n  - {id: break, node: util.fail, with: {message: the disk is on fire}}\n",
    );
    project.write(
        "nodes/t.yaml",
        "module: t\nversion: 1.0.0\nactions:\n\
         \x20 - {name: build, command: [./build.sh], effects: idempotent, retries: [0.05]}\n\
         \x20 - {name: deliver, command: [./deliver.sh], effects: idempotent}\n",
    );
    project.write(
        "build.sh",
        "#!/bin/sh\nif [ ! -e tried ]; then touch tried; echo 'no compiler yet' >&2; exit 1; fi\n\
         echo 'compiling <b>everything</b>' >&2\necho '{\"built\": true}'\n",
    );
    project
        .write("deliver.sh", "#!/bin/sh\necho '{\"delivered\": \"<img src=x onerror=boom()>\"}'\n");
    project
}

#[test]
fn the_page_shows_runs_and_follows_one_to_its_end() {
    let project = project();
    let served = Served::start(&project);
    project.run(&["run", "broken"]).with_code(1);
    let waiting = project.start(&["run", "ship", "--id", "<img src=x onerror=boom()>"]);
    let browser = Browser::start();
    browser.open(&served.url("/"));
    browser.script("window.boom = () => { window.hit = true; }");

    browser.wait_for_text("<img src=x onerror=boom()>");
    let list = browser.text();
    assert!(list.contains("the disk is on fire") && list.contains("failed"), "{list}");
    browser.script(
        "[...document.querySelectorAll('td a')].find((a) => a.textContent.includes('boom')).click()",
    );

    browser.wait_for_text("Waits for");
    browser.script("document.querySelector('[data-step=build] summary').click()");
    let told = browser.text();
    for part in ["Ship it?", "failed", "no compiler yet", "compiling <b>everything</b>"] {
        assert!(told.contains(part), "{part}: {told}");
    }
    let attempts = browser
        .script("return document.querySelectorAll('[data-step=build] .attempts tbody tr').length");
    assert_eq!(attempts, 2, "{told}");

    project.run(&["approve", "last"]).with_code(0);
    browser.wait_for_text("completed");
    browser.wait_for_text("delivered");
    assert!(
        browser.script("return document.querySelector('[data-step=build] details').open") == true,
        "what was opened stays open"
    );
    assert!(browser.script("return window.hit ?? null").is_null(), "text of a run was executed");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(waiting.end());
}

#[test]
fn the_slider_shows_how_the_run_stood_at_any_event() {
    let project = project();
    let served = Served::start(&project);
    let waiting = project.start(&["run", "ship", "--id", "slid"]);
    let browser = Browser::start();
    browser.open(&served.url("/"));
    browser.wait_for_text("slid");
    browser.script(
        "[...document.querySelectorAll('td a')].find((a) => a.textContent.includes('slid')).click()",
    );
    browser.wait_for_text("Waits for");
    project.run(&["approve", "slid"]).with_code(0);
    browser.wait_for_text("delivered");

    browser.script("document.querySelector('.replay summary').click()");
    let stands = |step: &str| {
        let cell = format!(
            "return document.querySelector('[data-step-at={step}] td:nth-child(2)')?.textContent ?? null"
        );
        browser.script(&cell)
    };
    support::wait_until("the state at the end", || stands("deliver") == "succeeded");
    let slide = |event: &str| {
        browser.script(&format!(
            "const slider = document.querySelector('.replay input'); slider.value = {event}; \
             slider.dispatchEvent(new Event('input'));"
        ));
    };
    slide("2");
    support::wait_until("the state at event 2", || stands("build") == "running");
    assert_eq!(stands("deliver"), "idle");
    slide("slider.max");
    support::wait_until("the state at the end again", || stands("deliver") == "succeeded");
    assert_eq!(browser.complaints(), Vec::<String>::new());
    drop(waiting.end());
}

#[test]
fn the_page_says_so_when_the_server_goes_and_goes_on_when_it_is_back() {
    let project = project();
    let served = Served::start(&project);
    project.run(&["run", "broken"]).with_code(1);
    let browser = Browser::start();
    browser.open(&served.url("/"));
    browser.wait_for_text("the disk is on fire");
    let before = served.kill();
    browser.wait_for_text("does not answer");
    let _served = Served::again(&project, &before);
    support::wait_until("the server to be found", || !browser.text().contains("does not answer"));
    browser.wait_for_text("the disk is on fire");
}
