use super::*;

/// One test: the switches are the process's.
#[test]
fn nothing_happens_until_it_is_switched_on_and_never_without_debug_assertions() {
    let (fault, other, rare) = (Plant::ALL[0], Plant::ALL[1], Point::ALL[0]);
    assert!(!planted(fault) && !buggify(rare));
    assert_eq!((struck(), reached()), (0, Vec::new()));

    plant(Some(fault));
    loosen(7, |point| if point == rare { ALWAYS_PPM } else { 0 });
    sometimes("tested");
    assert_eq!((planted(fault), buggify(rare)), (LIVE, LIVE));
    assert!(!planted(other) && !buggify(Point::ALL[1]));
    assert_eq!(struck(), u64::from(LIVE));
    assert_eq!(reached(), if LIVE { vec![("tested", 1)] } else { Vec::new() });

    plant(None);
    assert!(!planted(fault));

    let draws = |seed| {
        loosen(seed, |_| ALWAYS_PPM / 4);
        (0..1000).map(|_| buggify(rare)).collect::<Vec<_>>()
    };
    let yes = draws(1).into_iter().filter(|yes| *yes).count();
    assert!(if LIVE { (200..300).contains(&yes) } else { yes == 0 }, "{yes}");
    assert_eq!(draws(1), draws(1));
    assert_eq!(draws(1) != draws(2), LIVE);
}

#[test]
fn names_are_found_and_stand_for_one_thing() {
    assert!(Plant::ALL.iter().all(|plant| Plant::of_name(plant.name()) == Some(*plant)));
    assert!(Point::ALL.iter().all(|point| Point::of_name(point.name()) == Some(*point)));
    assert_eq!(Plant::of_name("nonsense"), None);
    let mut paths = PATHS.to_vec();
    paths.sort_unstable();
    paths.dedup();
    assert_eq!(paths.len(), PATHS.len());
}
