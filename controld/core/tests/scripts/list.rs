scripts! {
    first_join
}
