//! What an operator does to a random run: breakpoints, single-steps, changes of the graph.

use reflux_core::Marker;
use reflux_flow::{Decider, Patch, Steer, payload};
use serde_json::{Value, json};

use super::Play;

impl Play {
    /// An operator does something; most of what makes no sense is refused, and changes nothing.
    pub fn steer(&mut self) {
        let progress = self.world.live.decider.as_ref().and_then(Decider::progress);
        let progress = progress.expect("started");
        let steps: Vec<String> = progress.steps().map(|(step, _)| step.id.to_string()).collect();
        let revision = progress.revision();
        let steer = match self.dice.roll(8) {
            0 => Steer::Breakpoints {
                add: self.dice.pick(&steps).into_iter().collect(),
                remove: vec![],
            },
            1 => Steer::Step { count: 1 + u32::try_from(self.dice.roll(3)).unwrap() },
            _ => {
                let ops: Vec<Value> =
                    (0..=self.dice.roll(2)).map(|_| self.operation(&steps)).collect();
                let expected = if self.dice.one_in(10) { revision + 1 } else { revision };
                let patch = json!({ "revision": expected, "ops": ops });
                Steer::Mutate(Patch::parse(&patch.to_string()).expect("a patch"))
            }
        };
        let before = self.world.items.len();
        let was = self.world.live.clone();
        match self.world.steer(&steer) {
            Ok(()) if matches!(steer, Steer::Mutate(_)) => self.changes += 1,
            Ok(()) => {}
            Err(_) if matches!(steer, Steer::Step { .. }) => {}
            Err(why) => {
                assert_eq!(self.world.items.len(), before, "refused with traces: {why}");
                assert!(self.world.live == was, "refused with traces: {why}");
            }
        }
    }

    fn operation(&mut self, steps: &[String]) -> Value {
        let dice = &mut self.dice;
        let step = dice.pick(steps).unwrap_or_default();
        let other = dice.pick(steps).unwrap_or_default();
        match dice.roll(9) {
            0 | 1 => json!({ "add": {
                "id": format!("m{}", dice.roll(1_000)),
                "node": "n.new",
                "after": if dice.one_in(3) { json!([]) } else { json!([step]) },
            } }),
            2 => json!({ "remove": step }),
            3 => json!({ "remove": format!("{step}[{}]", dice.roll(5)) }),
            4 => json!({ "replace": { "id": step, "node": "n.other", "compensate": "n.undo" } }),
            5 => json!({ "set": { "step": step, "path": "/with/x", "value": dice.roll(3) } }),
            6 => {
                json!({ "set": { "step": step, "path": "/for_each/concurrency", "value": 1 + dice.roll(4) } })
            }
            7 => json!({ "set": { "step": step, "path": "/needs/-", "value": other } }),
            _ => {
                let on = if dice.one_in(2) { "success" } else { "failure" };
                json!({ "reroute": { "step": step, "on": on, "to": [other] } })
            }
        }
    }
}

/// The steps that a mutation concerns.
pub fn changed(marker: &Marker) -> Vec<String> {
    let mutation: Value = serde_json::from_slice(payload::marker_json(marker)).expect("JSON");
    let put = mutation["put"].as_array().expect("a list").iter().map(|step| &step["id"]);
    let removed = mutation["removed"].as_array().expect("a list");
    put.chain(removed).map(|id| id.as_str().expect("an id").to_owned()).collect()
}
