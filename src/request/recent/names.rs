//! The names of routes and apps by number, so that what is kept of an exchange needs no text.

/// What stands for none.
pub(super) const NONE: u16 = u16::MAX;

/// A route, as an operator knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouteName {
    /// Its host; `None` means any.
    pub host: Option<String>,
    /// Its path.
    pub path: String,
    /// The upstream that it leads to.
    pub upstream: String,
    /// The names of the apps whose users may use it.
    pub apps: Vec<String>,
}

/// Every name that a configuration of this process had.
#[derive(Debug, Default)]
pub(super) struct Names {
    routes: Vec<RouteName>,
    apps: Vec<String>,
}

impl Names {
    pub(super) fn route(&mut self, name: RouteName) -> u16 {
        number(&mut self.routes, name)
    }

    pub(super) fn app(&mut self, name: &str) -> u16 {
        number(&mut self.apps, name.to_owned())
    }

    pub(super) fn route_of(&self, number: u16) -> Option<RouteName> {
        self.routes.get(usize::from(number)).cloned()
    }

    pub(super) fn app_of(&self, number: u16) -> Option<String> {
        self.apps.get(usize::from(number)).cloned()
    }
}

/// Finds a name, or adds it where there is room; one without room has no number.
fn number<N: PartialEq>(names: &mut Vec<N>, name: N) -> u16 {
    let found = names.iter().position(|known| *known == name);
    let place = found.unwrap_or(names.len());
    match u16::try_from(place) {
        Ok(number) if number != NONE => {
            if found.is_none() {
                names.push(name);
            }
            number
        }
        Ok(_) | Err(_) => NONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_name_has_the_same_number_and_too_many_have_none() {
        let mut names = Names::default();
        assert_eq!([names.app("a"), names.app("b"), names.app("a")], [0, 1, 0]);
        assert_eq!(names.app_of(1).as_deref(), Some("b"));
        assert_eq!(names.app_of(NONE), None);
        names.apps = vec![String::new(); usize::from(NONE)];
        assert_eq!(names.app("c"), NONE);
        assert_eq!(names.apps.len(), usize::from(NONE));
    }
}
