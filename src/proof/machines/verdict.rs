//! What was seen of several machines, judged: pure, so that each part of the verdict can be made to fail.

use super::{Cut, ENOUGH, Machine, Machines, Stranger, Wire};
use crate::proof::Check;
use crate::proof::look::{Part, Seen, list, shared};

pub(in crate::proof) fn judge(seen: &Machines) -> Vec<Check> {
    let mut checks = vec![apart(seen), addressed(seen)];
    checks.push(Check::that(
        "the engine waits for connections from the network",
        !seen.listening.is_empty(),
        if seen.listening.is_empty() { "it listens nowhere".to_owned() } else { seen.listening.join(", ") },
    ));
    let engine = seen.machines.iter().find(|one| one.process.part == Part::Engine);
    for client in seen.machines.iter().filter(|one| one.process.part == Part::Client) {
        checks.push(connected(seen, client, engine));
        checks.push(flow(client));
    }
    checks.extend(seen.strangers.iter().map(refused));
    if seen.strangers.is_empty() {
        checks.push(Check::that("no stranger gets in", false, "none was there to be refused"));
    }
    checks.extend(interrupted(seen.cut.as_ref()));
    checks
}

fn apart(seen: &Machines) -> Check {
    let of = |pid: i32| seen.machines.iter().find(|one| one.process.pid == pid).and_then(|one| one.namespace);
    let rows: Vec<Seen> = seen.machines.iter().map(|one| one.process.clone()).collect();
    let mut against = shared(&rows, |row| of(row.pid), |number| format!("in network namespace {number}"));
    let without = seen.machines.iter().filter(|one| one.namespace.is_none());
    against.extend(without.map(|one| format!("that of {} is unknown", one.process.name)));
    if rows.len() < 2 {
        against.push("there are no two processes".into());
    }
    let told =
        seen.machines.iter().filter_map(|one| Some(format!("{} in {}", one.process.name, one.namespace?)));
    Check::unless("each is in a network namespace of its own", &against, list(&told.collect::<Vec<_>>()))
}

fn addressed(seen: &Machines) -> Check {
    let mut against = Vec::new();
    for (at, one) in seen.machines.iter().enumerate() {
        let common = |other: &&Machine| one.addresses.iter().any(|address| other.addresses.contains(address));
        let same = seen.machines[at + 1..].iter().filter(common);
        against
            .extend(same.map(|other| format!("{} and {} share one", one.process.name, other.process.name)));
        if one.addresses.is_empty() {
            against.push(format!("{} has none", one.process.name));
        }
    }
    let told: Vec<String> = seen
        .machines
        .iter()
        .map(|one| format!("{} has {}", one.process.name, one.addresses.join(", ")))
        .collect();
    Check::unless("each has addresses of its own", &against, told.join("; "))
}

fn connected(seen: &Machines, client: &Machine, engine: Option<&Machine>) -> Check {
    let name = &client.process.name;
    let what = format!("{name} and the engine hold the two ends of a TCP connection");
    let mut own = seen.wires.iter().filter(|wire| wire.client == *name);
    let whole = |wire: &&Wire| {
        let far = wire.far.as_ref().map(|far| &far.pids[..]);
        wire.near.pids == [client.process.pid]
            && engine.is_some_and(|engine| {
                engine.process.pid != client.process.pid && far == Some(&[engine.process.pid])
            })
    };
    match (own.clone().find(whole), own.next()) {
        (Some(wire), _) => {
            let far = wire.far.as_ref().map_or("", |far| &far.address);
            Check::that(what, true, format!("{} -- {far}", wire.near.address))
        }
        (None, Some(wire)) => {
            let far =
                wire.far.as_ref().map_or_else(|| "nobody".to_owned(), |far| format!("PIDs {:?}", far.pids));
            Check::that(
                what,
                false,
                format!("{} of PIDs {:?} leads to {far}", wire.near.address, wire.near.pids),
            )
        }
        (None, None) => Check::that(what, false, format!("PID {} has no connection", client.process.pid)),
    }
}

fn flow(client: &Machine) -> Check {
    let what = format!("they talk over the cable of {}", client.process.name);
    let (received, sent) = (client.received.unwrap_or(0), client.sent.unwrap_or(0));
    let found = format!("{sent} B went out, {received} B came in, by the kernel's count of the interface");
    Check::that(what, received > ENOUGH && sent > ENOUGH, found)
}

fn refused(stranger: &Stranger) -> Check {
    let what = format!("a client with {} does not get in", stranger.shows);
    let said = stranger.said.as_deref().unwrap_or("nothing");
    match stranger.code {
        Some(0) => Check::that(what, false, format!("it was served; it said: {said}")),
        // It may have failed for a reason of its own, which proves nothing.
        Some(code) if !said.contains("engine not available") || !said.contains("certificate") => {
            Check::that(what, false, format!("not for that: it ended with {code} and said: {said}"))
        }
        Some(code) => Check::that(what, true, format!("it ended with {code} and said: {said}")),
        None => Check::that(what, false, format!("it did not give up; it said: {said}")),
    }
}

fn interrupted(cut: Option<&Cut>) -> Vec<Check> {
    let what = "a cut cable is noticed, and is nobody else's";
    let Some(cut) = cut else { return vec![Check::that(what, false, "no cable was cut")] };
    let mut against = Vec::new();
    if cut.gone_ms.is_none() {
        against.push(format!("{} kept its dead connection", cut.client));
    }
    if cut.received > 0 {
        against.push(format!("{} B came over the cut cable", cut.received));
    }
    if cut.others_received == 0 {
        against.push("nothing came to the others either".to_owned());
    }
    let found = format!(
        "{} gave its connection up after {} ms; {} B came to the others meanwhile",
        cut.client,
        cut.gone_ms.unwrap_or_default(),
        cut.others_received
    );
    let mut after: Vec<String> =
        cut.changed.iter().map(|name| format!("{name} is not the process it was")).collect();
    if cut.back_ms.is_none() {
        after.push(format!("{} is not connected again", cut.client));
    }
    let again = format!("connected again after {} ms, nobody was restarted", cut.back_ms.unwrap_or_default());
    vec![
        Check::unless(what, &against, found),
        Check::unless("once the cable is back, so is the connection", &after, again),
    ]
}

#[cfg(test)]
mod tests {
    use super::super::Plug;
    use super::*;
    use crate::proof::identity::tests::seen;

    fn machine(name: &str, part: Part, pid: i32) -> Machine {
        Machine {
            process: seen(name, part, pid),
            namespace: Some(4_026_532_000 + u64::from(pid.unsigned_abs())),
            addresses: vec![format!("eth0 10.77.{pid}.2")],
            received: (part == Part::Client).then_some(2 * ENOUGH),
            sent: (part == Part::Client).then_some(2 * ENOUGH),
            said: None,
        }
    }

    fn wire(client: &str, pid: i32) -> Wire {
        let plug = |address: &str, pid: i32| Plug { address: address.into(), inode: 7, pids: vec![pid] };
        Wire {
            client: client.into(),
            near: plug("10.77.1.2:555", pid),
            far: Some(plug("10.77.0.1:4000", 10)),
        }
    }

    fn machines() -> Machines {
        let stranger = |shows: &str| Stranger {
            shows: shows.into(),
            code: Some(76),
            said: Some("engine not available: it needs certificates".into()),
        };
        Machines {
            machines: vec![
                machine("engine", Part::Engine, 10),
                machine("client@1", Part::Client, 11),
                machine("client@2", Part::Client, 12),
            ],
            listening: vec!["10.77.0.1:4000".into()],
            wires: vec![wire("client@1", 11), wire("client@2", 12)],
            strangers: vec![stranger("no certificate")],
            cut: Some(Cut {
                client: "client@1".into(),
                gone_ms: Some(1),
                received: 0,
                others_received: 9,
                back_ms: Some(1),
                changed: vec![],
            }),
        }
    }

    /// What is found when this is changed.
    type Case = (&'static str, fn(&mut Machines));

    #[test]
    fn the_claim_holds_and_each_part_of_it_can_fail() {
        let against = |seen: &Machines| -> Vec<String> {
            judge(seen).into_iter().filter(|check| !check.holds).map(|check| check.found).collect()
        };
        assert_eq!(against(&machines()), Vec::<String>::new());
        let cases: [Case; 18] = [
            ("not for that: it ended with 76", |seen| seen.strangers[0].said = Some("path too long".into())),
            ("engine and client@1 are both in network namespace", |seen| {
                seen.machines[1].namespace = seen.machines[0].namespace
            }),
            ("that of client@1 is unknown", |seen| seen.machines[1].namespace = None),
            ("engine and client@2 share one", |seen| {
                seen.machines[2].addresses = seen.machines[0].addresses.clone()
            }),
            ("client@2 has none", |seen| seen.machines[2].addresses.clear()),
            ("it listens nowhere", |seen| seen.listening.clear()),
            ("PID 11 has no connection", |seen| drop(seen.wires.remove(0))),
            ("leads to nobody", |seen| seen.wires[0].far = None),
            ("leads to PIDs [66]", |seen| seen.wires[0].far.as_mut().unwrap().pids = vec![66]),
            ("of PIDs [11, 66] leads to", |seen| seen.wires[0].near.pids.push(66)),
            ("0 B came in", |seen| seen.machines[1].received = None),
            ("it was served", |seen| seen.strangers[0].code = Some(0)),
            ("it did not give up", |seen| seen.strangers[0].code = None),
            ("none was there to be refused", |seen| seen.strangers.clear()),
            ("no cable was cut", |seen| seen.cut = None),
            ("5 B came over the cut cable", |seen| seen.cut.as_mut().unwrap().received = 5),
            ("nothing came to the others either", |seen| seen.cut.as_mut().unwrap().others_received = 0),
            ("client@2 is not the process it was", |seen| {
                seen.cut.as_mut().unwrap().changed.push("client@2".into())
            }),
        ];
        for (hint, break_it) in cases {
            let mut seen = machines();
            break_it(&mut seen);
            let found = against(&seen);
            assert!(found.len() == 1 && found[0].contains(hint), "{hint}: {found:?}");
        }
        let mut dead = machines();
        dead.cut = Some(Cut { client: "client@1".into(), others_received: 1, ..Cut::default() });
        let found = against(&dead).join("; ");
        assert!(
            found.contains("kept its dead connection") && found.contains("is not connected again"),
            "{found}"
        );
    }

    #[test]
    fn nobody_on_no_machine_is_not_proven() {
        let checks = judge(&Machines::default());
        assert!(checks[0].found.contains("there are no two processes"), "{checks:?}");
    }
}
