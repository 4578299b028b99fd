//! An officer's look-up: for a published purpose, in the log before the data, so many a day, and past them by two.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use registry::look_up::LookUp;
use registry::officers::{Actor, Role};
use registry::person::Attribute;
use registry::{Options, Registry, RegistryError};

use super::{ADA, World, enrolled, open, open_with};

type Shown = Result<BTreeMap<Attribute, String>, RegistryError>;

fn registrar(id: &str) -> Actor {
    Actor { id: id.into(), role: Role::Registrar }
}

fn ask(document_number: &str, purpose: &str, fields: &[Attribute]) -> LookUp {
    LookUp { document_number: document_number.into(), purpose: purpose.into(), fields: fields.to_vec() }
}

/// rita looks ada up.
fn show(registry: &Registry) -> Shown {
    registry.look_up(&registrar("rita"), &ask(ADA[3], "answer-person", &[Attribute::Address]))
}

#[test]
fn a_look_up_is_in_the_log_with_role_and_officer_before_there_is_data() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let registry = open(folder.path(), &world);
    enrolled(&registry);
    registry.add_officer("rita", Role::Registrar).unwrap();
    registry.add_officer("ruth", Role::Registrar).unwrap();
    world.log_down.store(true, Ordering::SeqCst);
    assert!(matches!(show(&registry), Err(RegistryError::Log(_))));
    world.log_down.store(false, Ordering::SeqCst);
    let shown = show(&registry).unwrap();
    assert_eq!(shown, BTreeMap::from([(Attribute::Address, "12 sample street exampleton".to_owned())]));
    show(&registry).unwrap();
    let everything = registry.look_up(&registrar("rita"), &ask(ADA[3], "answer-person", &[])).unwrap();
    assert_eq!(everything.len(), Attribute::ALL.len());
    let entries = world.entries.lock().unwrap();
    let [first, second, _] = &entries[..] else { panic!("{entries:?}") };
    assert_eq!((first.purpose, first.role, &first.fields[..]), ("answer-person", "registrar", &["address"][..]));
    // Who it was, the registry's keeper can tell; nobody else sees that both were one officer.
    assert_eq!(registry.officers_of(&first.tag_nonce, &first.officers).unwrap(), ["rita"]);
    assert_ne!(first.officers, second.officers);
    assert!(registry.officers_of(&second.tag_nonce, &first.officers).unwrap().is_empty());
}

#[test]
fn a_look_up_needs_a_published_purpose_of_the_role_and_fields_within_it() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let registry = open_with(folder.path(), &world, Options { daily_look_ups: 1 }).unwrap();
    enrolled(&registry);
    let rita = registrar("rita");
    for purpose in ["", "curiosity", "Answer-Person"] {
        let refused = registry.look_up(&rita, &ask(ADA[3], purpose, &[]));
        assert!(
            matches!(&refused, Err(RegistryError::Invalid(told)) if told.contains("issue-credential, ")),
            "{purpose}"
        );
    }
    // Purposes of others, and a role without any.
    for purpose in ["issue-credential", "issue-predicate", "evaluate-rule"] {
        assert!(matches!(registry.look_up(&rita, &ask(ADA[3], purpose, &[])), Err(RegistryError::Forbidden(_))));
    }
    for role in [Role::Administrator, Role::ProgrammeOfficer, Role::FinanceOfficer] {
        let actor = Actor { id: "olga".into(), role };
        let refused = registry.look_up(&actor, &ask(ADA[3], "answer-person", &[]));
        assert!(matches!(refused, Err(RegistryError::Forbidden(_))));
        let beyond = registry.look_up(&actor, &ask(ADA[3], "evaluate-rule", &[Attribute::GivenName]));
        assert!(matches!(beyond, Err(RegistryError::Forbidden(_))));
    }
    assert_eq!(world.openings.load(Ordering::SeqCst), 0);
    // None of it counted: the control.
    assert!(show(&registry).is_ok());
    // Whether somebody is enrolled is not found out by trying for nothing.
    let ruth = registrar("ruth");
    assert!(matches!(registry.look_up(&ruth, &ask("9", "answer-person", &[])), Err(RegistryError::NotFound(_))));
    assert!(matches!(
        registry.look_up(&ruth, &ask("9", "answer-person", &[])),
        Err(RegistryError::OverLimit { limit: 1, .. })
    ));
}

#[test]
fn past_the_daily_limit_another_registrar_approves_each_look_up() {
    let folder = tempfile::tempdir().unwrap();
    let world = Arc::new(World::default());
    let limited = || open_with(folder.path(), &world, Options { daily_look_ups: 2 }).unwrap();
    let registry = limited();
    enrolled(&registry);
    registry.add_officer("rita", Role::Registrar).unwrap();
    registry.add_officer("ruth", Role::Registrar).unwrap();
    assert!(show(&registry).is_ok() && show(&registry).is_ok());
    // Counted on disk: a restart changes nothing.
    drop(registry);
    let registry = limited();
    let Err(RegistryError::OverLimit { limit: 2, id }) = show(&registry) else { panic!("opened") };
    assert!(matches!(show(&registry), Err(RegistryError::OverLimit { id: again, .. }) if again == id));
    let programme_officer = Actor { id: "olga".into(), role: Role::ProgrammeOfficer };
    for nobody in [registrar("rita"), programme_officer] {
        assert!(matches!(registry.approve_look_up(&nobody, &id), Err(RegistryError::Forbidden(_))));
    }
    assert!(matches!(registry.approve_look_up(&registrar("ruth"), "00"), Err(RegistryError::NotFound(_))));
    assert!(show(&registry).is_err());
    let waiting = registry.waiting_look_ups(&registrar("ruth")).unwrap();
    assert_eq!((waiting.len(), &waiting[0].officer[..], &waiting[0].fields[..]), (1, "rita", "address"));
    registry.approve_look_up(&registrar("ruth"), &id).unwrap();
    // It is for this look-up alone: not for other fields, another person or another officer.
    let rita = registrar("rita");
    let other = |actor: &Actor, ask: &LookUp| {
        assert!(matches!(registry.look_up(actor, ask), Err(RegistryError::OverLimit { .. })))
    };
    other(&rita, &ask(ADA[3], "answer-person", &[Attribute::Address, Attribute::BirthDate]));
    other(&rita, &ask("2222222", "answer-person", &[Attribute::Address]));
    assert!(show(&registry).is_ok());
    assert!(matches!(show(&registry), Err(RegistryError::OverLimit { .. })), "once");
    {
        let entries = world.entries.lock().unwrap();
        let last = entries.last().unwrap();
        assert_eq!(registry.officers_of(&last.tag_nonce, &last.officers).unwrap(), ["rita", "ruth"]);
        assert_eq!(entries.len(), 3);
    }
    assert!(registry.audit().unwrap().problems.is_empty());
    // Another day, another count; what waited yesterday is void.
    let left = registry.waiting_look_ups(&registrar("ruth")).unwrap();
    world.days.store(1, Ordering::SeqCst);
    assert!(registry.waiting_look_ups(&registrar("ruth")).unwrap().is_empty());
    assert!(matches!(registry.approve_look_up(&registrar("ruth"), &left[0].id), Err(RegistryError::NotFound(_))));
    assert!(show(&registry).is_ok() && show(&registry).is_ok() && show(&registry).is_err());
    // The limit is the officer's, not the desk's.
    assert!(registry.look_up(&registrar("ruth"), &ask(ADA[3], "answer-person", &[])).is_ok());
}
