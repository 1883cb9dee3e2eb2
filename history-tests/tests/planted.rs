//! Each deliberate defect of the decider breaks at least one golden history.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

use std::panic::{AssertUnwindSafe, catch_unwind};

use history_tests::golden::Golden;
use history_tests::world::{World, key};
use reflux_flow::planted::{Defect, plant};
use reflux_flow::replay::verify;

#[test]
fn every_planted_defect_breaks_a_golden_history() {
    let goldens = Golden::all();
    assert!(goldens.iter().all(holds), "the histories hold without a defect");
    // A defect may also trip an assertion: that counts as noticed, and need not be printed.
    std::panic::set_hook(Box::new(|_| {}));
    let unnoticed: Vec<&Defect> = Defect::ALL
        .iter()
        .filter(|defect| {
            plant(Some(**defect));
            let noticed = !goldens.iter().all(holds);
            plant(None);
            !noticed
        })
        .collect();
    let _ = std::panic::take_hook();
    assert!(unnoticed.is_empty(), "no golden history notices {unnoticed:?}");
}

fn holds(golden: &Golden) -> bool {
    let played = || golden.play().and_then(|world| golden.check(&world));
    catch_unwind(AssertUnwindSafe(played)).is_ok_and(|checked| checked.is_ok())
}

/// Returns what is wrong: the other test has silenced what panics say.
#[test]
fn a_defect_of_what_is_decided_is_a_divergence_from_a_record_made_without_it() -> Result<(), String>
{
    let worlds: Vec<_> = Golden::all().iter().map(|golden| golden.play().unwrap()).collect();
    let diverges = |world: &World| {
        let bundle = world.bundle().clone();
        let verified = verify(key(), &world.items, &|_| Some(bundle.clone()));
        verified.is_err() || verified.is_ok_and(|verified| verified.divergence.is_some())
    };
    assert!(!worlds.iter().any(diverges), "the records verify without a defect");
    let unnoticed: Vec<&Defect> = Defect::ALL
        .iter()
        .filter(|defect| {
            plant(Some(**defect));
            let noticed = worlds.iter().any(diverges);
            plant(None);
            !noticed
        })
        .collect();
    // Its histories happen in one moment: what came in one record with what is not to be told.
    if unnoticed != [&Defect::ItemsUnbounded] {
        return Err(format!("no record notices {unnoticed:?}"));
    }
    Ok(())
}
