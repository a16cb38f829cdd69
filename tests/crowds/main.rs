//! Hundreds of logins at once while WeChat goes wrong or its quota is too small. A program of its own, since it needs the machine for itself.

mod chaos;
mod storm;
