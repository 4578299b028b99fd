//! Sums of multiples of points that are no secret, in variable time: what checking many proofs at once is made of.
//!
//! libsecp256k1 multiplies one point a call and gives each result in affine form, with an inversion of its own. A sum of many
//! multiples is cheaper: all points share the doublings (Straus), the tables of small multiples are made for all points in step, with
//! one inversion for all of them (Montgomery's trick), and the multipliers are short. Nothing secret may come here: no mint key, no
//! blinding factor.
//!
//! The multipliers are `a + b·λ` with `a` and `b` of 64 bits, where λ is the endomorphism of secp256k1: `λ·(x, y) = (βx, y)` costs one
//! multiplication, and halves the doublings again. No two of the 2^128 pairs give the same multiplier: their difference would be a
//! vector of the lattice `a + b·λ ≡ 0 (mod n)` with coordinates below 2^64, and its shortest one is longer than 2^126 (the reason why
//! the endomorphism can split scalars at all: Gallant, Lambert, Vanstone, CRYPTO 2001, section 4).

use secp256k1::PublicKey;

/// A multiplier: `low + high·λ`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Multiplier {
    /// The part that multiplies the point.
    pub low: u64,
    /// The part that multiplies λ times the point.
    pub high: u64,
}

/// A sum, in Jacobian coordinates: `(x/z², y/z³)`; `z` is zero at infinity.
#[derive(Clone, Copy)]
pub struct Sum {
    x: Field,
    y: Field,
    z: Field,
}

/// `Σ multiplier · point`. Variable time.
pub fn sum(terms: &[(Multiplier, PublicKey)]) -> Sum {
    let tables = odd_multiples(terms.iter().map(|(_, point)| Affine::from(point)).collect());
    let digits: Vec<[[i8; DIGITS]; 2]> =
        terms.iter().map(|(multiplier, _)| [digits_of(multiplier.low), digits_of(multiplier.high)]).collect();
    let mut sum = Sum::INFINITY;
    for place in (0..DIGITS).rev() {
        sum = sum.double();
        for (table, [low, high]) in tables.iter().zip(&digits) {
            if low[place] != 0 {
                sum = sum.add(&table.multiple(low[place]));
            }
            if high[place] != 0 {
                let multiple = table.multiple(high[place]);
                sum = sum.add(&Affine { x: multiple.x.mul(&BETA), y: multiple.y });
            }
        }
    }
    sum
}

impl Sum {
    const INFINITY: Sum = Sum { x: Field::ONE, y: Field::ONE, z: Field::ZERO };

    /// Whether it is the point at infinity.
    pub fn is_infinity(&self) -> bool {
        self.z.is_zero()
    }

    /// The difference from a point.
    pub fn minus(&self, point: &PublicKey) -> Sum {
        let point = Affine::from(point);
        self.add(&Affine { x: point.x, y: point.y.negate() })
    }

    /// The points of some sums, with one inversion for all. `None` when one of them is at infinity.
    pub fn points(sums: &[Sum]) -> Option<Vec<PublicKey>> {
        if sums.iter().any(Sum::is_infinity) {
            return None;
        }
        let mut inverses: Vec<Field> = sums.iter().map(|sum| sum.z).collect();
        invert_all(&mut inverses);
        let point = |(sum, inverse): (&Sum, &Field)| {
            let square = inverse.square();
            let (x, y) = (sum.x.mul(&square), sum.y.mul(&square.mul(inverse)));
            let mut bytes = [0x04; 65];
            bytes[1..33].copy_from_slice(&x.to_bytes());
            bytes[33..].copy_from_slice(&y.to_bytes());
            PublicKey::from_byte_array_uncompressed(bytes).ok()
        };
        sums.iter().zip(&inverses).map(point).collect()
    }

    /// Formulas `dbl-2009-l` of the Explicit-Formulas Database.
    fn double(&self) -> Sum {
        if self.is_infinity() {
            return *self;
        }
        let (a, b) = (self.x.square(), self.y.square());
        let c = b.square();
        let d = self.x.add(&b).square().sub(&a).sub(&c).twice();
        let e = a.twice().add(&a);
        let x = e.square().sub(&d.twice());
        let y = e.mul(&d.sub(&x)).sub(&c.twice().twice().twice());
        Sum { x, y, z: self.y.mul(&self.z).twice() }
    }

    /// Formulas `madd-2007-bl`, with the cases in which they do not hold.
    fn add(&self, other: &Affine) -> Sum {
        if self.is_infinity() {
            return Sum { x: other.x, y: other.y, z: Field::ONE };
        }
        let z2 = self.z.square();
        let h = other.x.mul(&z2).sub(&self.x);
        let r = other.y.mul(&self.z).mul(&z2).sub(&self.y);
        if h.is_zero() {
            return if r.is_zero() { self.double() } else { Sum::INFINITY };
        }
        let h2 = h.square();
        let h3 = h.mul(&h2);
        let v = self.x.mul(&h2);
        let x = r.square().sub(&h3).sub(&v.twice());
        let y = r.mul(&v.sub(&x)).sub(&self.y.mul(&h3));
        Sum { x, y, z: self.z.mul(&h) }
    }
}

/// A point that is not at infinity.
#[derive(Clone, Copy)]
struct Affine {
    x: Field,
    y: Field,
}

impl From<&PublicKey> for Affine {
    fn from(key: &PublicKey) -> Self {
        let bytes = key.serialize_uncompressed();
        let half = |from: usize| Field::from_bytes(bytes[from..from + 32].try_into().expect("32 of 65 bytes"));
        Affine { x: half(1), y: half(33) }
    }
}

/// Multiples of a point: 1, 3, 5 and 7 times.
#[derive(Clone, Copy)]
struct Table([Affine; 4]);

impl Table {
    fn multiple(&self, digit: i8) -> Affine {
        let point = self.0[usize::from(digit.unsigned_abs() / 2)];
        if digit > 0 { point } else { Affine { x: point.x, y: point.y.negate() } }
    }
}

/// The tables of all points, each step for all of them with one inversion. None of the sums has equal or opposite terms: the group's
/// order is a prime far above 7.
fn odd_multiples(points: Vec<Affine>) -> Vec<Table> {
    let mut doubled = points.clone();
    let mut inverses: Vec<Field> = points.iter().map(|point| point.y.twice()).collect();
    invert_all(&mut inverses);
    for (point, inverse) in doubled.iter_mut().zip(&inverses) {
        let square = point.x.square();
        let slope = square.twice().add(&square).mul(inverse);
        *point = on_line(&slope, point, &point.x);
    }
    let mut tables: Vec<Table> = points.iter().map(|point| Table([*point; 4])).collect();
    for place in 1..4 {
        let differences = tables.iter().zip(&doubled).map(|(table, doubled)| doubled.x.sub(&table.0[place - 1].x));
        let mut inverses: Vec<Field> = differences.collect();
        invert_all(&mut inverses);
        for ((table, doubled), inverse) in tables.iter_mut().zip(&doubled).zip(&inverses) {
            let last = table.0[place - 1];
            let slope = doubled.y.sub(&last.y).mul(inverse);
            table.0[place] = on_line(&slope, &last, &doubled.x);
        }
    }
    tables
}

/// The sum of two points of which one is given, with the x of the other and the slope of the line through both.
fn on_line(slope: &Field, point: &Affine, other_x: &Field) -> Affine {
    let x = slope.square().sub(&point.x).sub(other_x);
    Affine { x, y: slope.mul(&point.x.sub(&x)).sub(&point.y) }
}

/// Places of a number of 64 bits in non-adjacent form of width 4: it may need one more.
const DIGITS: usize = 65;

/// The number as a sum of odd digits from −7 to 7, each times its power of two; at most one in four is not zero.
fn digits_of(number: u64) -> [i8; DIGITS] {
    let mut digits = [0; DIGITS];
    let mut rest = u128::from(number);
    let mut place = 0;
    while rest != 0 {
        if rest & 1 == 1 {
            let digit = (rest & 15) as i8;
            let digit = if digit > 7 { digit - 16 } else { digit };
            rest = if digit > 0 { rest - digit as u128 } else { rest + u128::from(digit.unsigned_abs()) };
            digits[place] = digit;
        }
        rest >>= 1;
        place += 1;
    }
    digits
}

/// Inverts all, none of them zero, with one inversion and three multiplications each (Montgomery's trick).
fn invert_all(fields: &mut [Field]) {
    let mut products = Vec::with_capacity(fields.len());
    let mut product = Field::ONE;
    for field in fields.iter() {
        products.push(product);
        product = product.mul(field);
    }
    let mut inverse = product.invert();
    for (field, before) in fields.iter_mut().zip(products).rev() {
        let own = inverse.mul(&before);
        inverse = inverse.mul(field);
        *field = own;
    }
}

/// β, a cube root of one: `(βx, y)` is λ times `(x, y)`.
const BETA: Field = Field([0xc139_6c28_7195_01ee, 0x9cf0_4975_12f5_8995, 0x6e64_479e_ac34_34e9, 0x7ae9_6a2b_657c_0710]);

/// 2^256 − p, for the field's prime p.
const FOLD: u64 = 0x1_0000_03d1;

/// A number modulo p = 2^256 − 2^32 − 977, least limb first; any number below 2^256, so p and what is above stand for small ones.
#[derive(Clone, Copy)]
struct Field([u64; 4]);

impl Field {
    const ZERO: Field = Field([0; 4]);
    const ONE: Field = Field([1, 0, 0, 0]);

    fn from_bytes(bytes: [u8; 32]) -> Field {
        let limb = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        Field([limb(24), limb(16), limb(8), limb(0)])
    }

    fn to_bytes(self) -> [u8; 32] {
        let mut bytes = [0; 32];
        for (limb, out) in self.reduced().iter().rev().zip(bytes.chunks_exact_mut(8)) {
            out.copy_from_slice(&limb.to_be_bytes());
        }
        bytes
    }

    /// The one number below p that it stands for.
    fn reduced(&self) -> [u64; 4] {
        let (over, carry) = add_small(self.0, FOLD);
        if carry { over } else { self.0 }
    }

    fn is_zero(&self) -> bool {
        self.reduced() == [0; 4]
    }

    #[inline(always)]
    fn add(&self, other: &Field) -> Field {
        let (mut limbs, mut carry) = ([0; 4], false);
        for (place, limb) in limbs.iter_mut().enumerate() {
            let (sum, first) = self.0[place].overflowing_add(other.0[place]);
            let (sum, second) = sum.overflowing_add(u64::from(carry));
            (*limb, carry) = (sum, first | second);
        }
        let (limbs, again) = add_small(limbs, if carry { FOLD } else { 0 });
        // Only from numbers close to 2^256: what is left is then far from it.
        Field(add_small(limbs, if again { FOLD } else { 0 }).0)
    }

    #[inline(always)]
    fn sub(&self, other: &Field) -> Field {
        let (mut limbs, mut borrow) = ([0; 4], false);
        for (place, limb) in limbs.iter_mut().enumerate() {
            let (difference, first) = self.0[place].overflowing_sub(other.0[place]);
            let (difference, second) = difference.overflowing_sub(u64::from(borrow));
            (*limb, borrow) = (difference, first | second);
        }
        let (limbs, again) = sub_small(limbs, if borrow { FOLD } else { 0 });
        Field(sub_small(limbs, if again { FOLD } else { 0 }).0)
    }

    #[inline(always)]
    fn twice(&self) -> Field {
        self.add(self)
    }

    fn negate(&self) -> Field {
        Field::ZERO.sub(self)
    }

    #[inline(always)]
    fn mul(&self, other: &Field) -> Field {
        let mut wide = [0u64; 8];
        for (i, a) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (j, b) in other.0.iter().enumerate() {
                let product = u128::from(*a) * u128::from(*b) + u128::from(wide[i + j]) + u128::from(carry);
                wide[i + j] = product as u64;
                carry = (product >> 64) as u64;
            }
            wide[i + 4] = carry;
        }
        Field::fold(wide)
    }

    #[inline(always)]
    fn square(&self) -> Field {
        self.mul(self)
    }

    /// 2^256 is [`FOLD`] modulo p.
    #[inline(always)]
    fn fold(wide: [u64; 8]) -> Field {
        let (mut limbs, mut carry) = ([0; 4], 0u64);
        for (place, limb) in limbs.iter_mut().enumerate() {
            let sum = u128::from(wide[place + 4]) * u128::from(FOLD) + u128::from(wide[place]) + u128::from(carry);
            *limb = sum as u64;
            carry = (sum >> 64) as u64;
        }
        let high = u128::from(carry) * u128::from(FOLD);
        let (mut again, mut rest) = (false, [high as u64, (high >> 64) as u64, 0, 0]);
        for (place, limb) in rest.iter_mut().enumerate() {
            let (sum, first) = limb.overflowing_add(limbs[place]);
            let (sum, second) = sum.overflowing_add(u64::from(again));
            (*limb, again) = (sum, first | second);
        }
        Field(add_small(rest, if again { FOLD } else { 0 }).0)
    }

    /// The inverse of a number that is not zero, as its power p − 2 (Fermat). 255 squarings and 15 multiplications, along runs of ones
    /// in the exponent: 223 of them, a zero, 22, four zeros, and the last bits 1011 01.
    fn invert(&self) -> Field {
        let run = |base: &Field, times: usize, by: &Field| (0..times).fold(*base, |power, _| power.square()).mul(by);
        let x2 = run(self, 1, self);
        let x3 = run(&x2, 1, self);
        let x6 = run(&x3, 3, &x3);
        let x9 = run(&x6, 3, &x3);
        let x11 = run(&x9, 2, &x2);
        let x22 = run(&x11, 11, &x11);
        let x44 = run(&x22, 22, &x22);
        let x88 = run(&x44, 44, &x44);
        let x176 = run(&x88, 88, &x88);
        let x220 = run(&x176, 44, &x44);
        let x223 = run(&x220, 3, &x3);
        let power = run(&x223, 23, &x22);
        let power = run(&power, 5, self);
        let power = run(&power, 3, &x2);
        run(&power, 2, self)
    }
}

/// The sum modulo 2^256, and whether it went over.
#[inline(always)]
fn add_small(limbs: [u64; 4], small: u64) -> ([u64; 4], bool) {
    let (a, carry) = limbs[0].overflowing_add(small);
    let (b, carry) = limbs[1].overflowing_add(u64::from(carry));
    let (c, carry) = limbs[2].overflowing_add(u64::from(carry));
    let (d, carry) = limbs[3].overflowing_add(u64::from(carry));
    ([a, b, c, d], carry)
}

/// The difference modulo 2^256, and whether it went under.
#[inline(always)]
fn sub_small(limbs: [u64; 4], small: u64) -> ([u64; 4], bool) {
    let (a, borrow) = limbs[0].overflowing_sub(small);
    let (b, borrow) = limbs[1].overflowing_sub(u64::from(borrow));
    let (c, borrow) = limbs[2].overflowing_sub(u64::from(borrow));
    let (d, borrow) = limbs[3].overflowing_sub(u64::from(borrow));
    ([a, b, c, d], borrow)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use secp256k1::{Scalar, SecretKey};

    use super::*;

    /// λ, as SEC 2 and libsecp256k1 have it.
    const LAMBDA: &str = "5363ad4cc05c30e0a5261c028812645a122e22ea20816678df02967c1b23bd72";
    const P: [u64; 4] = [0xffff_fffe_ffff_fc2f, u64::MAX, u64::MAX, u64::MAX];

    fn point(number: u64) -> PublicKey {
        let mut bytes = [0x5a; 32];
        bytes[24..].copy_from_slice(&number.to_be_bytes());
        PublicKey::from_secret_key(&SecretKey::from_secret_bytes(bytes).unwrap())
    }

    /// The multiplier as a scalar, made by libsecp256k1.
    fn scalar(multiplier: Multiplier) -> SecretKey {
        let small = |number: u64| {
            let mut bytes = [0; 32];
            bytes[24..].copy_from_slice(&number.to_be_bytes());
            SecretKey::from_secret_bytes(bytes).unwrap()
        };
        let lambda = Scalar::from_be_bytes(hex::decode(LAMBDA).unwrap().try_into().unwrap()).unwrap();
        let high = small(multiplier.high).mul_tweak(&lambda).unwrap();
        high.add_tweak(&Scalar::from(small(multiplier.low))).unwrap()
    }

    proptest! {
        #[test]
        fn sums_are_those_of_libsecp256k1(terms in prop::collection::vec((1..=u64::MAX, 1..=u64::MAX, 1..100u64), 1..20)) {
            let terms: Vec<(Multiplier, PublicKey)> =
                terms.into_iter().map(|(low, high, number)| (Multiplier { low, high }, point(number))).collect();
            let multiples: Vec<PublicKey> = terms
                .iter()
                .map(|(multiplier, point)| point.mul_tweak(&Scalar::from(scalar(*multiplier))).unwrap())
                .collect();
            let expected = PublicKey::combine_keys(&multiples.iter().collect::<Vec<_>>()).unwrap();
            let sum = sum(&terms);
            prop_assert_eq!(Sum::points(&[sum, sum]), Some(vec![expected, expected]));
            prop_assert!(sum.minus(&expected).is_infinity());
            prop_assert!(!sum.minus(&expected.negate()).is_infinity());
        }

        #[test]
        fn arithmetic_is_that_of_the_field(a in any::<[u64; 4]>(), b in any::<[u64; 4]>()) {
            let (a, b) = (Field(a), Field(b));
            prop_assert_eq!(a.add(&b).sub(&b).reduced(), a.reduced());
            prop_assert_eq!(a.mul(&b).reduced(), b.mul(&a).reduced());
            prop_assert_eq!(a.add(&b).square().reduced(), a.square().add(&a.mul(&b).twice()).add(&b.square()).reduced());
            prop_assert!(a.is_zero() || a.invert().mul(&a).reduced() == Field::ONE.0);
        }
    }

    #[test]
    fn numbers_around_the_prime_are_reduced() {
        let minus_one = Field::ZERO.sub(&Field::ONE);
        assert_eq!(minus_one.reduced(), [P[0] - 1, P[1], P[2], P[3]]);
        assert_eq!(minus_one.square().reduced(), Field::ONE.0);
        for edge in
            [Field(P), Field([u64::MAX; 4]), Field(P).add(&Field(P)), Field([u64::MAX; 4]).add(&Field([u64::MAX; 4]))]
        {
            let again = Field(edge.reduced());
            assert_eq!(edge.add(&Field::ONE).reduced(), again.add(&Field::ONE).reduced());
            assert_eq!(edge.mul(&edge).reduced(), again.mul(&again).reduced());
            assert_eq!(edge.sub(&Field([u64::MAX; 4])).reduced(), again.sub(&Field([FOLD - 1, 0, 0, 0])).reduced());
        }
        assert!(Field(P).is_zero() && Field(P).negate().is_zero());
    }

    #[test]
    fn points_that_meet_in_a_sum_are_no_trouble() {
        let (one, g) = (Multiplier { low: 1, high: 0 }, point(1));
        assert!(sum(&[(one, g), (one, g.negate())]).is_infinity());
        assert_eq!(Sum::points(&[sum(&[(one, g), (one, g)])]), Some(vec![g.combine(&g).unwrap()]));
        assert!(Sum::points(&[sum(&[])]).is_none());
    }
}
