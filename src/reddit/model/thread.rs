//! A comment tree as it is shown: the most interesting part of it that fits.

use std::collections::BinaryHeap;

use super::Model;
use super::comment::order;
use super::error::Error;
use super::id::{CommentId, PostId};
use super::rank::CommentSort;

/// Which part of a tree is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Only what is below this comment, and the comment itself.
    pub root: Option<CommentId>,
    /// Which siblings go first.
    pub sort: CommentSort,
    /// Comments at most.
    pub limit: usize,
    /// Levels at most.
    pub levels: u8,
}

/// The first and the last of siblings that are shown.
#[derive(Clone, Copy, Default)]
struct Row {
    first: Option<usize>,
    last: Option<usize>,
}

/// A comment that is shown, with its answers and the one that comes after it among its siblings.
struct Shown {
    id: CommentId,
    answers: Row,
    next: Option<usize>,
}

/// The shown comments as they are chosen.
#[derive(Default)]
struct Tree {
    shown: Vec<Shown>,
    top: Row,
}

impl Tree {
    /// Adds one behind the answers that its parent has so far, and returns its slot.
    fn add(&mut self, id: CommentId, parent: Option<usize>) -> usize {
        let slot = self.shown.len();
        self.shown.push(Shown { id, answers: Row::default(), next: None });
        let row = match parent {
            Some(parent) => &mut self.shown[parent].answers,
            None => &mut self.top,
        };
        row.first.get_or_insert(slot);
        if let Some(before) = row.last.replace(slot) {
            self.shown[before].next = Some(slot);
        }
        slot
    }

    /// Parents before their answers.
    fn ordered(&self) -> Vec<CommentId> {
        let mut ordered = Vec::with_capacity(self.shown.len());
        let mut stack: Vec<usize> = self.top.first.into_iter().collect();
        while let Some(slot) = stack.pop() {
            let Shown { id, answers, next } = self.shown[slot];
            ordered.push(id);
            stack.extend(next);
            stack.extend(answers.first);
        }
        ordered
    }
}

/// Up to `limit` comments below `post`, parents before their answers. As on Reddit, those are shown that rank highest
/// among all whose parent is shown: a good answer far below is preferred to a bad one at the top.
///
/// # Errors
/// [`Error::NotFound`] when there is no such post or root, [`Error::ParentMismatch`] when the root is below another
/// post.
pub fn thread(model: &Model, post: PostId, part: Part) -> Result<Vec<CommentId>, Error> {
    model.posts().get(post)?;
    let comments = model.comments();
    let mut tree = Tree::default();
    // For each level that was opened: its siblings still to come, whose answer they are, and how deep.
    let mut levels = Vec::new();
    match part.root {
        None => levels.push((comments.answers(post, None, part.sort), None, 1)),
        Some(root) => {
            if comments.get(root)?.post != post {
                return Err(Error::ParentMismatch);
            }
            let slot = tree.add(root, None);
            if part.levels > 1 {
                levels.push((comments.answers(post, Some(root), part.sort), Some(slot), 2));
            }
        }
    }
    let mut heads = BinaryHeap::new();
    let mut open = 0;
    loop {
        while open < levels.len() {
            heads.extend(levels[open].0.next().map(|place| (order(part.sort, place), place.1, open)));
            open += 1;
        }
        if tree.shown.len() >= part.limit {
            break;
        }
        let Some((_, id, level)) = heads.pop() else { break };
        heads.extend(levels[level].0.next().map(|place| (order(part.sort, place), place.1, level)));
        let (parent, depth) = (levels[level].1, levels[level].2);
        let slot = tree.add(id, parent);
        if depth < part.levels && comments.get(id)?.below > 0 {
            levels.push((comments.answers(post, Some(id), part.sort), Some(slot), depth + 1));
        }
    }
    Ok(tree.ordered())
}

impl Model {
    /// The parent of a new comment, if it may be one.
    pub(super) fn answerable(&self, post: PostId, parent: Option<CommentId>) -> Result<(), Error> {
        self.posts().present(post)?;
        let Some(parent) = parent else { return Ok(()) };
        let parent = self.comments().present(parent)?;
        if parent.post != post {
            return Err(Error::ParentMismatch);
        }
        if parent.depth >= DEEPEST { Err(Error::TooDeep { max: DEEPEST }) } else { Ok(()) }
    }
}

/// Levels of a tree, as Lemmy has it.
pub(super) const DEEPEST: u8 = 50;
