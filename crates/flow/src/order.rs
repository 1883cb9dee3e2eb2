//! Cycles and order in small directed graphs: nodes are `0..edges.len()`, edges lists of targets.

use std::collections::{BTreeSet, VecDeque};

/// Strongly connected components that are cycles: several nodes, or one with an edge to itself.
/// Nodes are sorted within a component, components by their first node.
pub(crate) fn cycles(edges: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let mut search = Search {
        edges,
        index: vec![None; edges.len()],
        low: vec![0; edges.len()],
        on_stack: vec![false; edges.len()],
        stack: Vec::new(),
        next: 0,
        found: Vec::new(),
    };
    for node in 0..edges.len() {
        if at(&search.index, node).is_none() {
            search.from(node);
        }
    }
    let mut found = search.found;
    found.sort();
    found
}

/// One shortest cycle through the first node of a component, ending where it starts.
pub(crate) fn walk_cycle(edges: &[Vec<usize>], component: &[usize]) -> Vec<usize> {
    let Some(start) = component.first().copied() else { return Vec::new() };
    let inside: BTreeSet<usize> = component.iter().copied().collect();
    let mut parent = vec![None; edges.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(node) = queue.pop_front() {
        for next in edges.get(node).into_iter().flatten().copied().filter(|n| inside.contains(n)) {
            if next == start {
                let mut path = vec![start];
                let mut back = Some(node);
                while let Some(node) = back {
                    path.push(node);
                    back = at(&parent, node);
                }
                path.reverse();
                return path;
            }
            if next != start && at(&parent, next).is_none() {
                put(&mut parent, next, Some(node));
                queue.push_back(next);
            }
        }
    }
    Vec::new()
}

/// Tarjan's algorithm with its own stack: a flow of thousands of steps in a row must not recurse.
struct Search<'a> {
    edges: &'a [Vec<usize>],
    index: Vec<Option<usize>>,
    low: Vec<usize>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    next: usize,
    found: Vec<Vec<usize>>,
}

impl Search<'_> {
    fn from(&mut self, root: usize) {
        let mut work = vec![(root, 0)];
        self.enter(root);
        while let Some((node, edge)) = work.pop() {
            match self.edges.get(node).and_then(|targets| targets.get(edge)).copied() {
                Some(target) => {
                    work.push((node, edge + 1));
                    match at(&self.index, target) {
                        None => {
                            self.enter(target);
                            work.push((target, 0));
                        }
                        Some(index) if at(&self.on_stack, target) => self.lower(node, index),
                        Some(_) => {}
                    }
                }
                None => {
                    self.leave(node);
                    if let Some((parent, _)) = work.last() {
                        let low = at(&self.low, node);
                        let parent = *parent;
                        self.lower(parent, low);
                    }
                }
            }
        }
    }

    fn enter(&mut self, node: usize) {
        put(&mut self.index, node, Some(self.next));
        put(&mut self.low, node, self.next);
        put(&mut self.on_stack, node, true);
        self.stack.push(node);
        self.next += 1;
    }

    fn lower(&mut self, node: usize, index: usize) {
        let low = at(&self.low, node).min(index);
        put(&mut self.low, node, low);
    }

    fn leave(&mut self, node: usize) {
        if at(&self.index, node) != Some(at(&self.low, node)) {
            return;
        }
        let mut component = Vec::new();
        while let Some(top) = self.stack.pop() {
            put(&mut self.on_stack, top, false);
            component.push(top);
            if top == node {
                break;
            }
        }
        let loops = self.edges.get(node).is_some_and(|targets| targets.contains(&node));
        if component.len() > 1 || loops {
            component.sort_unstable();
            self.found.push(component);
        }
    }
}

fn at<T: Copy + Default>(list: &[T], index: usize) -> T {
    list.get(index).copied().unwrap_or_default()
}

fn put<T>(list: &mut [T], index: usize, value: T) {
    if let Some(place) = list.get_mut(index) {
        *place = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[&[usize]], components: &[&[usize]]) {
        let edges: Vec<Vec<usize>> = edges.iter().map(|e| e.to_vec()).collect();
        let found = cycles(&edges);
        assert_eq!(found, components.iter().map(|c| c.to_vec()).collect::<Vec<_>>(), "{edges:?}");
        for component in &found {
            let walk = walk_cycle(&edges, component);
            assert_eq!(walk.first(), walk.last());
            assert!(walk.len() >= 2);
            for pair in walk.windows(2) {
                assert!(edges[pair[0]].contains(&pair[1]), "{walk:?} is a walk");
            }
        }
    }

    #[test]
    fn every_cycle_is_found_once_and_can_be_walked() {
        check(&[&[]], &[]);
        check(&[&[0]], &[&[0]]);
        check(&[&[1], &[2], &[]], &[]);
        check(&[&[1], &[2], &[0]], &[&[0, 1, 2]]);
        check(&[&[1], &[0, 2], &[3], &[2]], &[&[0, 1], &[2, 3]]);
        check(&[&[1, 2], &[3], &[3], &[0]], &[&[0, 1, 2, 3]]);
        check(&[&[1, 1], &[]], &[]);
        check(&[&[1], &[2], &[1]], &[&[1, 2]]);
    }

    #[test]
    fn a_long_row_does_not_use_the_stack() {
        let edges: Vec<Vec<usize>> =
            (0..200_000).map(|n| if n < 199_999 { vec![n + 1] } else { vec![0] }).collect();
        assert_eq!(cycles(&edges).len(), 1);
    }
}
