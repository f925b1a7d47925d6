//! What is promised about the user's repository and the slots in which agents work, with real git.

mod collecting;
mod isolation;
mod preparing;
mod repository;
mod salvaging;
mod scene;
